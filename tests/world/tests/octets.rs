//! The octet level: seeds that are run with every test.

use ringup_world::{OctetPlan, OctetReport, OctetWorld};

fn run(seed: u64, messages: u32, has_faults: bool) -> OctetReport {
    let folder = tempfile::tempdir().expect("a folder can be made");
    OctetWorld::run(
        OctetPlan {
            seed,
            terminals: 8,
            messages,
            has_faults,
            is_told: false,
        },
        folder.path().join("server"),
    )
}

#[test]
fn every_promise_is_kept_octet_by_octet_with_faults_and_crashes() {
    let (mut withdrawn, mut pending) = (0, 0);
    for seed in 1..=4 {
        let report = run(seed, 150, true);
        assert_eq!(report.checks.breaches, [] as [String; 0], "seed {seed}");
        assert_eq!(report.accepted, 150, "seed {seed}");
        let settled = report.delivered + report.failed + report.withdrawn + report.unknown;
        assert_eq!(settled, 150, "seed {seed}: {report:?}");
        assert!(
            report.failed <= 5 && report.outcomes.len() > 3,
            "seed {seed}: {report:?}"
        );
        (withdrawn, pending) = (withdrawn + report.withdrawn, pending + report.pending);
        assert!(
            report.delivered > 75 && report.unknown < 5,
            "seed {seed}: {report:?}"
        );
    }
    assert!(
        withdrawn > 20 && pending > 12,
        "wishes met messages that were under way: {withdrawn}, {pending}"
    );
}

#[test]
fn without_faults_every_call_is_answered_and_brings_what_it_was_placed_for() {
    let report = run(5, 60, false);
    assert_eq!(report.checks.breaches, [] as [String; 0]);
    assert_eq!(
        (report.delivered, report.failed, report.repeated),
        (60, 0, 0)
    );
    assert!(
        report.outcomes.keys().all(|outcome| outcome == "completed"),
        "{report:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_octets_at_the_same_times_and_another_others() {
    let digests = [7, 7, 8].map(|seed| run(seed, 80, true).digest);
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}
