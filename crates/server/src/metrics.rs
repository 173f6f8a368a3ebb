//! What the server counts, for Prometheus.
//!
//! **Bounded:** labels are lines of the config and words of this program, never a terminal, a provider or a number.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use model::alarm::AlarmKind;
use model::call::CallRecord;
use model::money::Micros;
use model::outcome::Outcome;
use model::verdict::Verdict;
use store::{Health, Store};

/// Everything that is counted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Counted>);

type Seconds = Counter<f64, AtomicU64>;

#[derive(Debug)]
struct Counted {
    registry: Registry,
    refused: Family<Reason, Counter>,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<LineLabel, Seconds>,
    call_octets: Family<OctetsLabels, Counter>,
    octets_saved: Counter,
    reserved: Seconds,
    settled: Seconds,
    rings_refused: Family<Reason, Counter>,
    unproved: Counter,
    lost_unproved: Counter,
    trunk_refused: Counter,
    alarms: Family<KindLabel, Counter>,
    webhooks: Family<ResultLabel, Counter>,
    mails: Family<ResultLabel, Counter>,
    feeds: Family<ResultLabel, Counter>,
    bounces: Family<ResultLabel, Counter>,
    /// Put right when they are asked for.
    accepted: Counter,
    repeated: Counter,
    conflicts: Counter,
    verdicts: Family<VerdictLabel, Counter>,
    commits: Counter,
    commit_seconds: Seconds,
    waiting: Gauge,
    lines: Family<StateLabel, Gauge>,
    connected: Gauge,
    disk_ready: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    line: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LineLabel {
    line: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OctetsLabels {
    line: String,
    way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringup");
        let build: Family<BuildLabel, Gauge> =
            register(&mut registry, "build_info", "The program, by version");
        build
            .get_or_create(&BuildLabel {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        let refused = register(
            &mut registry,
            "messages_refused",
            "Submissions refused, by reason",
        );
        let calls = register(
            &mut registry,
            "calls",
            "Calls and attempts that are over, by line and outcome",
        );
        let call_seconds = register(
            &mut registry,
            "call_seconds",
            "Seconds that lines were taken by calls",
        );
        let call_octets = register(
            &mut registry,
            "call_octets",
            "Octets on the lines, by line and way",
        );
        let octets_saved = register(
            &mut registry,
            "delivery_octets_saved",
            "Octets of content that packing saved",
        );
        let reserved = register(
            &mut registry,
            "money_reserved",
            "What was reserved for calls, in the tariffs' currency",
        );
        let settled = register(
            &mut registry,
            "money_settled",
            "What calls came to, in the tariffs' currency",
        );
        let rings_refused = register(
            &mut registry,
            "rings_refused",
            "Rings that were not answered, by reason",
        );
        let trunk_refused = register(
            &mut registry,
            "trunk_refused",
            "What dial-up servers, or who spoke for one, said and was refused",
        );
        let unproved = register(
            &mut registry,
            "sessions_unproved",
            "Sessions of which the far end was not proved",
        );
        let lost_unproved = register(
            &mut registry,
            "calls_lost_unproved",
            "Calls that came in and whose carrier was lost before the far end was proved",
        );
        let alarms = register(&mut registry, "alarms_raised", "Alarms raised, by kind");
        let webhooks = register(
            &mut registry,
            "webhook_deliveries",
            "Verdicts told to providers, by result of the try",
        );
        let mails = register(
            &mut registry,
            "mails",
            "Mails received over SMTP, by answer",
        );
        let feeds = register(
            &mut registry,
            "feed_readings",
            "Readings of feeds, by result",
        );
        let bounces = register(
            &mut registry,
            "mail_notifications",
            "Notifications to senders, by result of the try",
        );
        let accepted = register(&mut registry, "messages_accepted", "Messages accepted");
        let repeated = register(
            &mut registry,
            "messages_repeated",
            "Submissions under an idempotency key seen before",
        );
        let conflicts = register(
            &mut registry,
            "verdict_conflicts",
            "Receipts for messages whose verdict says otherwise",
        );
        let verdicts = register(
            &mut registry,
            "envelopes_settled",
            "Envelopes that have their verdict, by verdict",
        );
        let commits = register(
            &mut registry,
            "store_commits",
            "Transactions of the store's writer",
        );
        let commit_seconds = register(
            &mut registry,
            "store_commit_seconds",
            "Seconds spent in transactions",
        );
        let waiting = register(
            &mut registry,
            "messages_waiting",
            "Messages of which an envelope waits",
        );
        let lines = register(&mut registry, "lines", "Lines, by what they are doing");
        let connected = register(
            &mut registry,
            "terminals_connected",
            "Terminals that are connected",
        );
        let disk_ready = register(
            &mut registry,
            "store_ready",
            "1 if the store takes messages, 0 if it is full or fails",
        );
        Self(Arc::new(Counted {
            registry,
            refused,
            calls,
            call_seconds,
            call_octets,
            octets_saved,
            reserved,
            settled,
            rings_refused,
            unproved,
            lost_unproved,
            trunk_refused,
            alarms,
            webhooks,
            mails,
            feeds,
            bounces,
            accepted,
            repeated,
            conflicts,
            verdicts,
            commits,
            commit_seconds,
            waiting,
            lines,
            connected,
            disk_ready,
        }))
    }
}

fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// A submission was answered with this.
    pub(crate) fn refused(&self, status: StatusCode) {
        let reason = match status {
            StatusCode::UNAUTHORIZED => "token",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "unknown-destination",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::REQUEST_TIMEOUT => "too-slow",
            StatusCode::UNPROCESSABLE_ENTITY => "key-reused",
            StatusCode::TOO_MANY_REQUESTS => "quota",
            StatusCode::INSUFFICIENT_STORAGE => "disk-full",
            status if status.is_server_error() => "store",
            _ => "malformed",
        };
        self.0.refused.get_or_create(&Reason { reason }).inc();
    }

    /// A call, or an attempt, is over.
    pub(crate) fn call(&self, record: &CallRecord, outcome: &Outcome, lasted: Duration) {
        let line = record.via.to_string();
        self.0
            .calls
            .get_or_create(&CallLabels {
                line: line.clone(),
                outcome: outcome.kind().as_str(),
            })
            .inc();
        for (way, octets) in [("out", record.octets_out), ("in", record.octets_in)] {
            self.0
                .call_octets
                .get_or_create(&OctetsLabels {
                    line: line.clone(),
                    way,
                })
                .inc_by(octets);
        }
        self.0
            .call_seconds
            .get_or_create(&LineLabel { line })
            .inc_by(lasted.as_secs_f64());
    }

    /// A content was received; the octets that packing saved on the line.
    pub(crate) fn saved(&self, octets: u64) {
        self.0.octets_saved.inc_by(octets);
    }

    pub(crate) fn reserved(&self, amount: Micros) {
        self.0.reserved.inc_by(money(amount));
    }

    pub(crate) fn settled(&self, amount: Micros) {
        self.0.settled.inc_by(money(amount));
    }

    /// What calls have cost.
    #[cfg(test)]
    pub(crate) fn settled_in_all(&self) -> f64 {
        self.0.settled.get()
    }

    pub(crate) fn ring_refused(&self, reason: line::RefusalReason) {
        use line::RefusalReason;
        let reason = match reason {
            RefusalReason::NotRegistered => "not-registered",
            RefusalReason::Withheld => "withheld",
            RefusalReason::Absent => "absent",
            RefusalReason::Refused => "refused",
            RefusalReason::OutOfHours => "out-of-hours",
            RefusalReason::TooOften => "too-often",
            RefusalReason::Unproved => "unproved",
            RefusalReason::NoData => "no-data",
        };
        self.0.rings_refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn trunk_refused(&self) {
        self.0.trunk_refused.inc();
    }

    #[cfg(test)]
    pub(crate) fn trunk_refusals(&self) -> u64 {
        self.0.trunk_refused.get()
    }

    pub(crate) fn unproved(&self) {
        self.0.unproved.inc();
    }

    pub(crate) fn lost_unproved(&self) {
        self.0.lost_unproved.inc();
    }

    pub(crate) fn alarm(&self, kind: AlarmKind) {
        self.0
            .alarms
            .get_or_create(&KindLabel {
                kind: kind.as_str(),
            })
            .inc();
    }

    pub(crate) fn webhook(&self, result: &'static str) {
        self.0.webhooks.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn bounce(&self, result: &'static str) {
        self.0.bounces.get_or_create(&ResultLabel { result }).inc();
    }

    /// A feed was read, or could not be.
    pub(crate) fn feed(&self, result: &'static str) {
        self.0.feeds.get_or_create(&ResultLabel { result }).inc();
    }

    /// A mail was answered with this line.
    pub(crate) fn mail(&self, answer: &str) {
        let result = match answer.as_bytes().first() {
            Some(b'2') => "accepted",
            Some(b'4') => "deferred",
            _ => "refused",
        };
        self.0.mails.get_or_create(&ResultLabel { result }).inc();
    }

    /// All of it in the OpenMetrics format, with how many lines are in each state, and how many terminals are connected.
    pub(crate) async fn text(
        &self,
        store: &Store,
        lines: &[(&'static str, usize)],
        connected: usize,
    ) -> String {
        let counted = &*self.0;
        let counts = store.counts();
        raise_to(&counted.accepted, counts.accepted);
        raise_to(&counted.repeated, counts.repeated);
        raise_to(&counted.conflicts, counts.conflicts);
        raise_to(&counted.commits, counts.commits);
        let seconds = Duration::from_nanos(counts.commit_nanos).as_secs_f64();
        counted
            .commit_seconds
            .inc_by((seconds - counted.commit_seconds.get()).max(0.0));
        match store.verdict_counts().await {
            Ok(verdicts) => {
                for verdict in Verdict::ALL {
                    let count = verdicts.get(&verdict).copied().unwrap_or_default();
                    raise_to(
                        &counted.verdicts.get_or_create(&VerdictLabel {
                            verdict: verdict.as_str(),
                        }),
                        count,
                    );
                }
            }
            Err(error) => tracing::error!(%error, "cannot read the verdicts"),
        }
        match store.waiting_in_all().await {
            Ok(waiting) => {
                counted
                    .waiting
                    .set(i64::try_from(waiting).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::error!(%error, "cannot read what waits"),
        }
        for (state, count) in lines {
            counted
                .lines
                .get_or_create(&StateLabel { state })
                .set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        counted
            .connected
            .set(i64::try_from(connected).unwrap_or(i64::MAX));
        counted.disk_ready.set(i64::from(matches!(
            store.health(Timestamp::now()).await,
            Health::Ready
        )));
        let mut text = String::new();
        encode(&mut text, &counted.registry).expect("a string takes everything");
        text
    }
}

fn money(amount: Micros) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum for a picture, not for a bill"
    )]
    let micros = amount.0.max(0) as f64;
    micros / 1e6
}

/// Two who ask at once may put a counter up by the same twice, but for this.
fn raise_to(counter: &Counter, count: u64) {
    counter
        .inner()
        .fetch_max(count, std::sync::atomic::Ordering::Relaxed);
}
