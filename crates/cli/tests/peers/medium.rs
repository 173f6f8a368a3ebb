//! The recording medium: written by xorriso, read by bsdtar, checked by openssl, installed by busybox; and the guide to it, word
//! for word, on a bare machine whose only way out is a modem.

mod machines;
mod workshop;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::geteuid;
use tempfile::TempDir;

use machines::hex;
use workshop::{Workshop, programs, said};

use crate::guests::peers;
use crate::unpacked;
use crate::village::awkward_content;

const GUIDE: &str = include_str!("../../../../docs/guides/medium.md");

#[test]
fn the_same_input_gives_the_same_octets_and_others_read_what_is_in_them() {
    let shop = Workshop::open();
    shop.create("one.iso");
    // Other times and modes of what goes in say nothing.
    shop.ok(&format!(
        "cp -r {} programs && touch -d 2001-01-01 programs/* && chmod 700 programs/*",
        programs().display()
    ));
    shop.ok("TZ=Asia/Tokyo ringup medium create --bundle gauge.bundle --programs x86_64=programs --device /dev/ttyS0 --profile usr -o two.iso");
    let (one, two) = (
        fs::read(shop.path("one.iso")).unwrap(),
        fs::read(shop.path("two.iso")).unwrap(),
    );
    assert!(one == two, "two images of the same differ");
    assert!(one.len() < 16 * 1024 * 1024, "{} octets", one.len());
    let dates = shop.ok("TZ=UTC bsdtar -tvf one.iso");
    assert!(
        dates.lines().all(|line| line.contains(" Jan  1  1980 ")),
        "{dates}"
    );
    let mode = fs::metadata(shop.path("one.iso"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "there is a secret in it");

    // A stick's partition table: one partition, at 512 octets x 64, where a file system begins, too.
    assert_eq!((one[510], one[511]), (0x55, 0xaa));
    assert_eq!(one[454..458], 64_u32.to_le_bytes());
    for start in [0, 64 * 512] {
        assert_eq!(&one[start + 32_769..start + 32_774], b"CD001");
    }

    let medium = shop.unpack("one.iso");
    for name in ["ringup", "ringup-wait"] {
        let (from, to) = (
            programs().join(name),
            medium.join("programs/x86_64").join(name),
        );
        assert!(
            fs::read(from).unwrap() == fs::read(&to).unwrap(),
            "{name} is another on the medium"
        );
        assert_eq!(
            fs::metadata(&to).unwrap().permissions().mode() & 0o555,
            0o555
        );
    }
    let joliet = shop.ok("bsdtar --options 'iso9660:!rockridge' -tf one.iso | sort");
    assert_eq!(
        joliet,
        shop.ok("bsdtar -tf one.iso | sort"),
        "Windows sees other names than Linux"
    );
    shop.ok("ringup check-config terminal one/terminal/terminal.toml");

    let key = fs::read(shop.path("server/server.key")).unwrap();
    // RFC 8410 section 7: the 32 octets of the private key are behind the algorithm.
    let seed = &key[16..48];
    let is_in = |needle: &[u8]| one.windows(needle.len()).any(|window| window == needle);
    for text in [
        seed.to_vec(),
        hex(seed).into_bytes(),
        URL_SAFE_NO_PAD.encode(seed).into_bytes(),
    ] {
        assert!(!is_in(&text), "the server's private key is on the medium");
    }
    assert!(
        is_in(shop.key.as_bytes()),
        "the search finds the public one"
    );
}

#[test]
fn verify_and_openssl_tell_a_tampered_medium_though_its_sums_are_mended() {
    let shop = Workshop::open();
    shop.create("good.iso");
    let good = shop.unpack("good.iso");
    shop.ok("ringup server-key public --pem > server.pem");
    let key = shop.key.clone();
    let verify = |medium: &str| format!("ringup medium verify {medium} --key={key}");
    let openssl = |medium: &str| {
        format!(
            "openssl pkeyutl -verify -pubin -inkey server.pem -rawin -in {medium}/SHA256SUMS -sigfile {medium}/SHA256SUMS.sig"
        )
    };
    for medium in ["good.iso", "good"] {
        assert!(
            shop.ok(&verify(medium))
                .contains("is what the server with this key has made")
        );
    }
    shop.ok(&openssl("good"));

    // A bit on the way, in the middle of a program: the installer, and verify of either kind.
    let mut image = fs::read(shop.path("good.iso")).unwrap();
    let program = fs::read(good.join("programs/x86_64/ringup")).unwrap();
    let at = image
        .windows(64)
        .position(|window| window == &program[4096..4160])
        .unwrap();
    image[at] ^= 1;
    shop.write("damaged.iso", &image);
    shop.unpack("damaged.iso");
    for medium in ["damaged.iso", "damaged"] {
        shop.refused(&verify(medium), 1, "programs/x86_64/ringup was changed");
    }
    fs::create_dir(shop.path("root")).unwrap();
    let installed = shop.install("damaged", "--root root");
    assert_eq!(installed.status.code(), Some(1), "{}", said(&installed));
    assert!(
        said(&installed).contains("programs/x86_64/ringup: FAILED"),
        "{}",
        said(&installed)
    );
    assert_eq!(
        fs::read_dir(shop.path("root")).unwrap().count(),
        0,
        "something was installed"
    );

    // Somebody who can mend sums: the installer sees nothing, the signature does.
    shop.ok("cp -r damaged tampered && cd tampered && sha256sum $(cut -c 67- SHA256SUMS) > sums && mv sums SHA256SUMS");
    let tried = shop.install("tampered", "--root root --dry-run");
    assert!(tried.status.success(), "{}", said(&tried));
    shop.ok("xorriso -as mkisofs -quiet -r -J -V RINGUP -o tampered.iso tampered");
    for medium in ["tampered.iso", "tampered"] {
        shop.refused(
            &verify(medium),
            1,
            "was not made by the server with the key",
        );
    }
    shop.refused(&openssl("tampered"), 1, "Signature Verification Failure");

    // What sums say nothing of: more, less, and a link in a file's place.
    shop.ok("cp -r good more && echo 'rm -rf /' > more/autorun.sh");
    shop.ok("cp -r good less && rm less/udev/60-ringup.rules");
    shop.ok("cp -r good link && mv link/install.sh elsewhere.sh && ln -s ../elsewhere.sh link/install.sh");
    for (medium, why) in [
        ("more", "autorun.sh was added"),
        ("less", "udev/60-ringup.rules is missing"),
        ("link", "install.sh is missing"),
    ] {
        shop.ok(&format!(
            "xorriso -as mkisofs -quiet -r -J -V RINGUP -o {medium}.iso {medium}"
        ));
        shop.refused(&verify(medium), 1, why);
        shop.refused(
            &verify(&format!("{medium}.iso")),
            1,
            why.trim_end_matches("is missing"),
        );
    }
    // What is mounted and run, though no file of it is changed: rights, folders, and all of an image that is outside of its files.
    shop.ok("cp -r good suid && chmod 4755 suid/install.sh && cp -r good folder && mkdir -p folder/empty/deep");
    shop.refused(
        &verify("suid"),
        1,
        "install.sh would run as another user (mode 4755)",
    );
    shop.refused(&verify("folder"), 1, "the folder empty was added");
    let image = fs::read(shop.path("good.iso")).unwrap();
    let evil = fs::read(shop.path("tampered.iso")).unwrap();
    // Another volume behind it, to which the partition leads: no octet of the first one's files is changed.
    let mut moved = image.clone();
    moved.resize(image.len().next_multiple_of(1024 * 1024), 0);
    let sectors = |octets: usize| u32::try_from(octets / 512).unwrap().to_le_bytes();
    let begins = sectors(moved.len());
    moved[454..458].copy_from_slice(&begins);
    moved[458..462].copy_from_slice(&sectors(evil.len()));
    moved.extend(evil);
    shop.write("moved.iso", &moved);
    shop.refused(&verify("moved.iso"), 1, "octets were added to it");
    // The same on a stick, which is longer than any image on it.
    shop.write("cut.iso", &moved[..image.len()]);
    shop.refused(
        &verify("cut.iso"),
        1,
        "octets of it were changed, outside of its files or in them",
    );
    // The partition's own tree of folders, which is another than the volume's.
    let mut inner = image.clone();
    let root_at = 64 * 512 + 32_768 + 156;
    inner[root_at + 2] ^= 1;
    shop.write("inner.iso", &inner);
    shop.refused(&verify("inner.iso"), 1, "octets of it were changed");
    shop.write("bare.iso", &image[..image.len() - 2048]);
    shop.refused(&verify("bare.iso"), 1, "no seal");
    let other = Workshop::open();
    shop.refused(
        &format!("ringup medium verify good.iso --key={}", other.key),
        1,
        "was not made by the server",
    );
    shop.write("noise.iso", &awkward_content(100_000));
    shop.refused(&verify("noise.iso"), 1, "no medium of ringup's");
    shop.refused(&verify("tools"), 1, "no medium of ringup's");
    shop.refused(
        &verify("/dev/null"),
        1,
        "neither an image nor a folder nor a drive",
    );
}

#[test]
fn the_installer_does_what_it_said_it_would_once_and_leaves_behind_what_is_the_owners() {
    let shop = Workshop::open();
    shop.create("medium.iso");
    shop.unpack("medium.iso");
    fs::create_dir(shop.path("root")).unwrap();
    let before = shop.inventory("root");
    let tried = shop.install("medium", "--root root --init systemd --dry-run");
    assert!(tried.status.success(), "{}", said(&tried));
    assert_eq!(
        shop.inventory("root"),
        before,
        "--dry-run has changed something"
    );

    let done = shop.install("medium", "--root root --init systemd");
    assert!(done.status.success(), "{}", said(&done));
    let would = String::from_utf8(tried.stdout).unwrap();
    let announced: Vec<_> = would
        .lines()
        .filter_map(|line| line.strip_prefix("would "))
        .collect();
    assert!(announced.len() > 10, "{would}");
    for deed in announced {
        assert!(
            said(&done).lines().any(|line| line == deed),
            "{deed:?} was announced, and not done: {}",
            said(&done)
        );
    }
    let wants = "root/etc/systemd/system/dev-ttyS0.device.wants/ringup-wait@ttyS0.service";
    assert_eq!(
        fs::read_link(shop.path(wants)).unwrap(),
        Path::new("/etc/systemd/system/ringup-wait@.service")
    );
    for secret in ["terminal.key", "enrolment.toml"] {
        let there = fs::metadata(shop.path("root/var/lib/ringup/terminal").join(secret)).unwrap();
        assert_eq!(there.permissions().mode() & 0o777, 0o600, "{secret}");
        if geteuid().is_root() {
            let owner = std::os::unix::fs::MetadataExt::uid(&there).to_string();
            let users = fs::read_to_string(shop.path("root/etc/passwd")).unwrap();
            assert!(
                users.contains(&format!("ringup:x:{owner}:")),
                "{secret} is {owner}'s: {users}"
            );
        }
    }

    // Again: nothing to do. Then what the owner has changed, an older program, and what has come meanwhile.
    let installed = shop.inventory("root");
    let again = shop.install("medium", "--root root --init systemd");
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(shop.inventory("root"), installed, "{}", said(&again));
    shop.ok("echo '# mine' >> root/etc/ringup/terminal.toml && echo RINGUP_WAIT_OPTIONS= > root/etc/ringup/wait.env");
    shop.ok(
        "mkdir root/var/lib/ringup/inbox/m && echo hello > root/var/lib/ringup/inbox/m/content",
    );
    let mine = shop.inventory("root");
    shop.ok("echo older > root/usr/bin/ringup && chmod 755 root/usr/bin/ringup");
    let upgraded = shop.install("medium", "--root root --init systemd --device /dev/ttyS9");
    assert!(upgraded.status.success(), "{}", said(&upgraded));
    shop.ok("rm -r root/etc/systemd/system/dev-ttyS9.device.wants");
    let now = shop.inventory("root");
    let without_folder_size = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("etc/systemd/system "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(without_folder_size(&now), without_folder_size(&mine));

    let removed = shop.install("medium", "--root root --init systemd --uninstall");
    assert!(removed.status.success(), "{}", said(&removed));
    let left = shop.ok("cd root && find . -type f -o -type l | sort");
    assert_eq!(
        left.lines().collect::<Vec<_>>(),
        [
            "./etc/group",
            "./etc/passwd",
            "./etc/ringup/terminal.toml",
            "./etc/ringup/wait.env",
            "./var/lib/ringup/inbox/m/content",
            "./var/lib/ringup/terminal/enrolment.toml",
            "./var/lib/ringup/terminal/terminal.key",
            "./var/lib/ringup/terminal/terminal.lock",
        ]
    );
    let purged = shop.install("medium", "--root root --init systemd --uninstall --purge");
    assert!(purged.status.success(), "{}", said(&purged));
    assert_eq!(
        shop.ok("cd root && find . -type f -o -type l | sort"),
        "./etc/group\n./etc/passwd\n"
    );
    assert_eq!(
        shop.ok("grep ringup root/etc/passwd root/etc/group || true"),
        ""
    );
}

#[test]
fn the_installer_refuses_with_a_reason_and_changes_nothing() {
    let shop = Workshop::open();
    shop.create("medium.iso");
    shop.unpack("medium.iso");
    fs::create_dir_all(shop.path("packaged/usr/bin")).unwrap();
    shop.ok("ln -s /etc/alternatives/ringup packaged/usr/bin/ringup && mkdir root && cp -r medium cut && rm cut/udev/60-ringup.rules");
    shop.ok("cp -r medium unlisted && sed -i /install.sh/d unlisted/SHA256SUMS");
    shop.ok("cp -r medium mangled && sed -i 's/  README/ README/' mangled/SHA256SUMS");
    let before = [shop.inventory("packaged"), shop.inventory("root")];
    for (medium, arguments, code, why) in [
        (
            "medium",
            "--root root --arch mips",
            1,
            "no programs for mips, but for: x86_64",
        ),
        ("medium", "--root packaged", 1, "is of a package"),
        (
            "medium",
            "--root packaged --uninstall",
            1,
            "is of a package",
        ),
        ("medium", "--root nowhere", 1, "no folder nowhere"),
        (
            "medium",
            "--root root --device ttyS0",
            2,
            "no device such as /dev/ttyS0",
        ),
        (
            "medium",
            "--root root --device /dev/$(reboot)",
            2,
            "no name of a device",
        ),
        ("medium", "--root root --init upstart", 2, "--init is"),
        (
            "medium",
            "--root root --purge",
            2,
            "--purge is for --uninstall",
        ),
        ("medium", "--root", 2, "needs a value"),
        ("medium", "--force", 2, "what is --force?"),
        ("cut", "--root root", 1, "60-ringup.rules"),
        (
            "unlisted",
            "--root root",
            1,
            "SHA256SUMS does not have install.sh",
        ),
        ("mangled", "--root root", 1, "SHA256SUMS is"),
    ] {
        let output = shop.install(medium, arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{medium} {arguments}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(why),
            "{medium} {arguments} did not say {why:?}: {}",
            said(&output)
        );
        assert_eq!(
            [shop.inventory("packaged"), shop.inventory("root")],
            before,
            "{medium} {arguments}"
        );
    }
    for (programs, why) in [
        (
            format!(
                "x86_64={}",
                Path::new(env!("CARGO_BIN_EXE_ringup"))
                    .parent()
                    .unwrap()
                    .display()
            ),
            "needs libraries",
        ),
        (
            format!("aarch64={}", programs().display()),
            "is not for aarch64",
        ),
        ("x86_64=nowhere".to_owned(), "could not read nowhere/ringup"),
    ] {
        shop.refused(
            &format!("ringup medium create --programs {programs} -o none.iso"),
            1,
            why,
        );
    }
    shop.refused(
        &format!(
            "ringup medium create --programs x86_64={} --xorriso nowhere -o none.iso",
            programs().display()
        ),
        1,
        "install the package xorriso",
    );
    let other = Workshop::open();
    let (bundle, programs) = (other.path("gauge.bundle"), programs());
    let (bundle, programs) = (bundle.display(), programs.display());
    shop.refused(
        &format!("ringup medium create --bundle {bundle} --programs x86_64={programs} -o none.iso"),
        1,
        "the bundle is of another server",
    );
    for (from, to, why) in [
        ("callers = .*", "callers = []", "would answer no call"),
        ("secret = .*", "", "secret is used up"),
        ("bundle = 1", "bundle = 2", "the bundle cannot be used"),
    ] {
        shop.ok(&format!(
            "sed 's/^{from}/{to}/' gauge.bundle > other.bundle"
        ));
        let create = format!(
            "ringup medium create --bundle other.bundle --programs x86_64={programs} -o none.iso"
        );
        shop.refused(&create, 1, why);
    }
    assert!(!shop.path("none.iso").exists());
}

#[test]
fn the_installer_never_leaves_the_root_that_it_was_given() {
    let shop = Workshop::open();
    shop.create("medium.iso");
    shop.unpack("medium.iso");
    shop.ok("mkdir -p host/dir && echo 'root:x:0:' > host/group");
    let host = shop.path("host").display().to_string();
    for (place, target) in [
        ("etc/group", format!("{host}/group")),
        ("etc/group", "../../host/group".to_owned()),
        ("etc/passwd", format!("{host}/none")),
        ("usr/bin", format!("{host}/dir")),
        ("usr/bin", "../../host/dir".to_owned()),
        ("usr", "../host".to_owned()),
        ("etc/systemd/system", format!("{host}/dir")),
        ("etc/udev/rules.d", format!("{host}/dir")),
        ("var/lib/ringup", format!("{host}/dir")),
        ("var/lib", format!("{host}/nowhere")),
        ("var/lib/ringup/terminal", format!("{host}/dir")),
        ("var/lib/ringup/inbox", format!("{host}/dir")),
        ("etc/ringup", "/".to_owned()),
        (
            "etc/systemd/system/dev-ttyS0.device.wants",
            format!("{host}/dir"),
        ),
    ] {
        shop.ok(&format!(
            "rm -rf root && mkdir -p root/$(dirname {place}) && ln -s {target} root/{place}"
        ));
        let before = [shop.inventory("root"), shop.inventory("host")];
        for work in ["", " --dry-run"] {
            let refused = shop.install("medium", &format!("--root root --init systemd{work}"));
            assert_eq!(
                refused.status.code(),
                Some(1),
                "{place} to {target}: {}",
                said(&refused)
            );
            assert!(
                said(&refused).contains("not below"),
                "{place} to {target}: {}",
                said(&refused)
            );
            assert_eq!(
                [shop.inventory("root"), shop.inventory("host")],
                before,
                "{place} to {target}"
            );
        }
    }
    // As systems have them: inside.
    shop.ok("rm -rf root && mkdir -p root/usr/sbin root/usr/lib root/private/lib root/etc && ln -s usr/sbin root/sbin");
    shop.ok("ln -s sbin root/usr/bin && ln -s private root/var && echo 'root:x:0:' > root/etc/group.real && ln -s group.real root/etc/group");
    // A file's own name is replaced, wherever it leads.
    shop.ok(&format!("ln -s {host}/dir root/usr/sbin/ringup-wait"));
    let installed = shop.install("medium", "--root root --init systemd");
    assert!(installed.status.success(), "{}", said(&installed));
    assert!(
        fs::symlink_metadata(shop.path("root/usr/sbin/ringup-wait"))
            .unwrap()
            .is_file()
    );
    assert!(
        shop.path("root/private/lib/ringup/terminal/terminal.key")
            .exists()
    );
    assert!(shop.ok("cat root/etc/group.real").contains("ringup:x:"));
    assert_eq!(shop.ok("ls host/dir; cat host/group"), "root:x:0:\n");
}

#[test]
fn what_the_service_puts_into_its_folders_leads_the_installer_nowhere() {
    let shop = Workshop::open();
    shop.create("medium.iso");
    shop.unpack("medium.iso");
    shop.ok("mkdir root elsewhere && echo precious > elsewhere/file");
    let installed = shop.install("medium", "--root root --init none");
    assert!(installed.status.success(), "{}", said(&installed));
    let mode = |name: &str| fs::metadata(shop.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        ["", "/inbox", "/terminal"].map(|name| mode(&format!("root/var/lib/ringup{name}"))),
        [0o755, 0o750, 0o700]
    );
    // What a program of the service's may leave there.
    shop.ok("ln -s ../../../../../elsewhere root/var/lib/ringup/inbox/link; ln elsewhere/file root/var/lib/ringup/inbox/hard");
    let before = shop.ok("stat -c '%u %g %a' elsewhere elsewhere/file");
    let again = shop.install("medium", "--root root --init none");
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(
        shop.ok("stat -c '%u %g %a' elsewhere elsewhere/file"),
        before
    );
    if geteuid().is_root() {
        assert_eq!(shop.ok("stat -c %u root/var/lib/ringup"), "0\n");
    }
}

#[test]
fn a_medium_for_nobody_in_particular_installs_the_programs_and_says_what_is_missing() {
    let shop = Workshop::open();
    shop.ok(&format!(
        "ringup medium create --programs x86_64={} -o medium.iso",
        programs().display()
    ));
    shop.unpack("medium.iso");
    assert_eq!(shop.ok("ls medium/terminal"), "starter\n");
    fs::create_dir(shop.path("root")).unwrap();
    let installed = shop.install("medium", "--root root --init none");
    assert!(installed.status.success(), "{}", said(&installed));
    assert!(
        said(&installed).contains("now write /etc/ringup/terminal.toml"),
        "{}",
        said(&installed)
    );
    assert_eq!(
        shop.ok("ls root/etc/ringup root/usr/bin | sort"),
        "\nringup\nringup-wait\nroot/etc/ringup:\nroot/usr/bin:\nwait.env\n"
    );
}

#[test]
fn a_root_of_another_architecture_gets_programs_of_that_and_a_key_that_was_made_here() {
    // In a program's head: which machine it is for (ELF, e_machine); 183 is arm64.
    const MACHINE: usize = 18;
    let shop = Workshop::open();
    fs::create_dir(shop.path("arm")).unwrap();
    for name in ["ringup", "ringup-wait"] {
        let mut program = fs::read(programs().join(name)).unwrap();
        program[MACHINE] = 183;
        fs::write(shop.path("arm").join(name), &program).unwrap();
    }
    let (ours, tail) = (
        format!("--programs x86_64={}", programs().display()),
        "--bundle gauge.bundle -o",
    );
    shop.ok(&format!(
        "ringup medium create {ours} --programs aarch64=arm {tail} both.iso"
    ));
    shop.ok(&format!(
        "ringup medium create --programs aarch64=arm {tail} alone.iso && mkdir root other"
    ));
    shop.unpack("both.iso");
    let installed = shop.install("both", "--root root --arch aarch64 --init none");
    assert!(installed.status.success(), "{}", said(&installed));
    assert!(
        fs::read(shop.path("root/usr/bin/ringup")).unwrap()
            == fs::read(shop.path("arm/ringup")).unwrap()
    );
    assert!(
        shop.path("root/var/lib/ringup/terminal/terminal.key")
            .exists()
    );
    assert!(
        shop.ok("grep -c ^secret root/var/lib/ringup/terminal/enrolment.toml")
            .starts_with('1')
    );

    // Without a program for this machine no key can be made: nothing is begun.
    shop.unpack("alone.iso");
    let refused = shop.install("alone", "--root other --arch aarch64 --init none");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(
        said(&refused).contains("no programs for this machine"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::read_dir(shop.path("other")).unwrap().count(), 0);
}

#[test]
fn the_service_is_let_do_little() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("ringup-wait@ttyUSB0.service");
    let dist =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/systemd/ringup-wait@.service");
    fs::copy(dist, &unit).unwrap();
    let systemd = peers().join("usr/lib/x86_64-linux-gnu/systemd");
    let command = unpacked::command("usr/bin/systemd-analyze");
    let mut arguments: Vec<_> = command
        .get_args()
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    arguments[1] += &format!(":{}", systemd.display());
    let mut analyze = Command::new(command.get_program());
    analyze.args(arguments);
    analyze
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .env("LC_ALL", "C");
    let output = analyze.output().unwrap();
    let table = said(&output);
    let score = table
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for"))
        .unwrap_or_else(|| panic!("{table}"));
    let score = score.1.split(' ').nth(2).unwrap();
    assert!(
        GUIDE.contains(&format!("gives it {score} of 10")),
        "the guide says another score than {score}"
    );
}

/// The commands of the guide's block with this number, a line each.
fn commands(block: usize) -> Vec<&'static str> {
    let block = GUIDE
        .split("```sh\n")
        .nth(block)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    block.lines().collect()
}
