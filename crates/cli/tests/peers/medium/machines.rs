//! The guide word for word on bare machines.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::workshop::{lay_out_tools, programs, said, shell};
use super::{GUIDE, commands};
use crate::guests::{self, Guest};
use crate::village::{Plan, Village, awkward_content};

/// A village whose server has made a medium as the guide says, and checked it so: `gauge.iso`.
fn village_with_a_medium() -> Village {
    let village = Village::found(Plan {
        strangers: STATIONS,
        ..Plan::default()
    });
    let folder = village.path("");
    lay_out_tools(&folder);
    fs::create_dir(village.path("target")).unwrap();
    std::os::unix::fs::symlink(
        programs().parent().unwrap(),
        village.path("target/programs"),
    )
    .unwrap();
    assert_eq!(GUIDE.matches("```sh\n").count(), 4);
    for block in [1, 2] {
        for command in commands(block) {
            let output = shell(&folder, command);
            assert!(output.status.success(), "{command}: {}", said(&output));
        }
    }
    let output = shell(&folder, &commands(3).join(" && "));
    assert!(output.status.success(), "{}", said(&output));
    village
}

/// Installs on a machine as the guide says; the medium is its disk.
async fn install_on(machine: &mut Guest) {
    let commands = commands(4);
    assert!(commands[0].contains(" /dev/sr0 "));
    for command in commands {
        let command = command.replace("/dev/sr0", "/dev/ubda");
        machine
            .run(&format!("{command} >>/tmp/install.log 2>&1; echo @exit $?"))
            .await;
        let code = machine.said("@exit").await;
        if code != "0" {
            machine
                .run("sed 's/^/@log /' /tmp/install.log; echo @exit")
                .await;
            machine.said("@exit").await;
            panic!("{command}: exit code {code}");
        }
    }
}

/// Sends the terminal a message, and compares what is in its inbox, and whose it is.
async fn deliver(village: &Village, machine: &mut Guest, octets: usize) {
    let content = awkward_content(octets);
    let message = village.send(
        &format!("tel:{NUMBER}"),
        &village.write("readings", &content),
    );
    village.wait_delivered(&message);
    let look = "echo @content $(stat -c %U content) $(sha256sum <content)";
    machine
        .run(&format!("cd /var/lib/ringup/inbox/{message}; {look}; cd /"))
        .await;
    let expected = format!("ringup {}", hex(&Sha256::digest(&content)));
    assert!(
        machine.said("@content").await.starts_with(&expected),
        "another file is in the terminal's inbox"
    );
}

/// Has the machine say so when something is so.
async fn wait_until(machine: &mut Guest, is_so: &str) {
    machine
        .run(&format!(
            "( until {is_so}; do usleep 50000; done; echo @so ) &"
        ))
        .await;
    machine.said("@so").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_word_for_word_makes_a_bare_machine_a_terminal_that_the_first_call_enrols() {
    let village = village_with_a_medium();
    let mut machine = guests::bare(
        village.path("lines").join(NUMBER),
        &village.path("gauge.iso"),
    )
    .await;
    machine
        .run("echo @links $(ls /sys/class/net | grep -v -x lo)")
        .await;
    assert_eq!(
        machine.said("@links").await,
        "",
        "the machine has a network"
    );
    // A stick's partition is as good as the whole.
    machine.run("mount -t iso9660 -o ro /dev/ubda1 /mnt; echo @stick $(sha256sum </mnt/SHA256SUMS); umount /mnt").await;
    let sums = fs::read(village.path("medium/SHA256SUMS")).unwrap();
    assert!(
        machine
            .said("@stick")
            .await
            .starts_with(&hex(&Sha256::digest(&sums)))
    );
    install_on(&mut machine).await;
    // As udev has it, and as OpenRC would: the service's own words.
    machine
        .run("chgrp dialout /dev/ttyS0; chmod 660 /dev/ttyS0")
        .await;
    let start =
        "su -s /bin/sh ${command_user%:*} -c \"exec $command $command_args\" >/tmp/wait.log 2>&1 &";
    machine
        .run(&format!(
            ". /etc/conf.d/ringup-wait; . /etc/init.d/ringup-wait; {start}"
        ))
        .await;
    wait_until(&mut machine, "grep -q 'waiting for calls' /tmp/wait.log").await;
    deliver(&village, &mut machine, 10_000).await;
    // When the session has ended in order, the secret is burnt.
    wait_until(
        &mut machine,
        "! grep -q '^secret' /var/lib/ringup/terminal/enrolment.toml",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_systemd_the_service_does_what_a_terminal_does_and_nothing_else_and_goes_with_its_modem()
 {
    let village = village_with_a_medium();
    let mut machine = guests::with_systemd(
        village.path("lines").join(NUMBER),
        &village.path("gauge.iso"),
    )
    .await;
    // When it returns the starter has told systemd that it waits.
    install_on(&mut machine).await;
    let is_active = "systemctl is-active -q ringup-wait@ttyS0";
    machine.run(&format!("{is_active}; echo @active $?")).await;
    assert_eq!(machine.said("@active").await, "0");
    for (field, wanted) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapBnd", "0000000000000000"),
        ("Groups", "20"),
    ] {
        machine
            .run(&format!("echo @field $(sed -n 's/^{field}:[[:space:]]*//p' /proc/$(pidof ringup-wait)/status)"))
            .await;
        let found = machine.said("@field").await;
        assert!(
            found.split(' ').any(|word| word == wanted),
            "{field}: {found}"
        );
    }

    machine.run("chmod 644 /dev/ubda; su -s /bin/sh ringup -c 'true </dev/ubda && true >/srv/x'; echo @usual $?").await;
    assert_eq!(machine.said("@usual").await, "0", "everybody may");
    machine
        .run(
            "mkdir /var/lib/ringup/mail && chown ringup:ringup /var/lib/ringup/mail; echo @mail $?",
        )
        .await;
    assert_eq!(machine.said("@mail").await, "0");
    // The console takes commands of one line.
    let append = format!(
        "echo {} | base64 -d >>/etc/ringup/terminal.toml; echo @told $?",
        STANDARD.encode(TAKE)
    );
    machine.run(&append).await;
    assert_eq!(machine.said("@told").await, "0");
    deliver(&village, &mut machine, 10_000).await;
    wait_until(&mut machine, "[ -e /var/lib/ringup/mail/taken ]").await;
    let digest = hex(&Sha256::digest(awkward_content(10_000)));
    machine
        .run("echo @taken $(sha256sum </var/lib/ringup/mail/taken); echo @escaped $(cat /var/lib/ringup/mail/escaped)")
        .await;
    assert!(machine.said("@taken").await.starts_with(&digest));
    assert_eq!(machine.said("@escaped").await, "");

    // As the kernel says when a modem is unplugged, and plugged in.
    machine
        .run("echo remove >/sys/class/tty/ttyS0/uevent")
        .await;
    wait_until(&mut machine, &format!("! {is_active}")).await;
    machine.run("echo add >/sys/class/tty/ttyS0/uevent").await;
    wait_until(&mut machine, is_active).await;
    deliver(&village, &mut machine, 1_000).await;
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

const NUMBER: &str = "501";

/// At a modem's rate: User-Mode Linux loses its port for good when more comes than it reads.
const STATIONS: &[(&str, &str)] = &[(NUMBER, "rate_to = 33600\nrate_from = 33600")];

/// What a program may do that messages are handed to: take them, and write to the service's folders; not where everybody may, and not
/// read a disk that everybody may.
const TAKE: &str = r#"
[[inbox]]
command = ["/bin/sh", "-c", """
cat >/var/lib/ringup/mail/taken.new
if true >/srv/escaped; then echo files; fi >>/var/lib/ringup/mail/escaped
if true </dev/ubda; then echo devices; fi >>/var/lib/ringup/mail/escaped
mv /var/lib/ringup/mail/taken.new /var/lib/ringup/mail/taken
"""]
"#;
