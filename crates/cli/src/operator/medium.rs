//! `ringup medium`: an image that makes a bare machine a terminal, and whether it is still what was made.

mod contents;
mod image;
mod programs;
mod seal;
mod sums;
mod terminal;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use delivery::proof::{BUNDLE_OCTETS_MAX, Bundle, PublicKey};
use jiff::Span;
use model::directory::Name;
use modem::Profile;
use serde_json::json;

use self::contents::Contents;
use self::image::{Medium, Xorriso};
use self::programs::Programs;
use self::sums::{SIGNATURE, SUMS};
use self::terminal::{Device, FirstConfig};
use super::OperatorSocket;
use super::terminals::invite;
use crate::config;

/// Recording media: all that a machine without a network needs to become a terminal, on a CD or a USB stick.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup medium create --terminal owner --caller 201 --programs x86_64=DIR -o owner.iso
  ringup medium create --programs x86_64=DIR --programs aarch64=DIR -o any.iso    for no terminal
  ringup medium verify owner.iso --key KEY         ringup server-key public prints the key
  ringup medium verify /media/cdrom --key KEY

There, as root: sh /media/cdrom/install.sh. See docs/guides/medium.md.")]
pub(crate) struct MediumVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: MediumVerb,
}

#[derive(Debug, Subcommand)]
enum MediumVerb {
    Create(Box<Create>),
    Verify(Verify),
}

impl MediumVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            MediumVerb::Create(create) => create.run(&self.operator),
            MediumVerb::Verify(verify) => verify.run(&self.operator),
        }
    }
}

/// Write an image: programs, installer, units, checksums, this server's signature, and a terminal's enrolment bundle
///
/// Runs where the server runs, as a user that may read its key. The same programs, bundle and xorriso give the same octets;
/// SOURCE_DATE_EPOCH is the date of all files.
#[derive(Debug, Args)]
struct Create {
    /// The terminal that it is for: it is invited anew, as by `ringup terminal invite` [default: none in particular]
    #[arg(long, value_name = "NAME", conflicts_with = "bundle")]
    terminal: Option<Name>,
    /// A bundle that `ringup terminal invite` has made, instead of a new one
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// A number that this server calls from; may be given more than once
    #[arg(long = "caller", value_name = "NUMBER", requires = "terminal")]
    callers: Vec<String>,
    /// How long the bundle is good
    #[arg(long, value_name = "TIME", default_value = "14d")]
    expires: Span,
    /// The terminal's programs for machines of which `uname -m` says ARCH, linked statically, as `cargo xtask programs` makes
    /// them; may be given more than once
    #[arg(long, value_name = "ARCH=DIR", required = true)]
    programs: Vec<Programs>,
    /// Licences of what is in the programs; may be given more than once
    #[arg(long, value_name = "FILE")]
    licences: Vec<PathBuf>,
    /// Where the modem is, if the installer is not told another place
    #[arg(long, value_name = "DEVICE", default_value = "/dev/ttyUSB0")]
    device: Device,
    /// What the modem is: generic, usr, conexant, rockwell, multitech, gsm, isdn, iridium
    #[arg(long, value_name = "NAME", default_value_t)]
    profile: Profile,
    /// The program that writes ISO 9660
    #[arg(long, value_name = "PATH", default_value = "xorriso")]
    xorriso: PathBuf,
    /// The image
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Create {
    fn run(self, operator: &OperatorSocket) -> anyhow::Result<ExitCode> {
        let xorriso = Xorriso::find(&self.xorriso)?;
        if fs::metadata(&self.output).is_ok_and(|there| !there.is_file()) {
            bail!(
                "{} is no file: write the image to one, and that to the stick",
                self.output.display()
            );
        }
        let mut contents = Contents::new()?;
        let mut architectures = BTreeSet::new();
        for programs in &self.programs {
            if !architectures.insert(programs.arch.clone()) {
                bail!("--programs {} is given twice", programs.arch);
            }
            for (name, program) in programs.read()? {
                contents.program(&format!("programs/{}/{name}", programs.arch), &program)?;
            }
        }
        contents.what_every_medium_has()?;
        for licences in &self.licences {
            let name = licences
                .file_name()
                .and_then(|name| name.to_str())
                .context("--licences is no file")?;
            contents.file(&format!("licences/{name}"), &read(licences)?)?;
        }
        // An invitation makes earlier ones void: only when all the rest is there, and what signs it.
        let keys = config::server::public_keys(&operator.config)?;
        let bundle = self.bundle(operator)?;
        if let Some(bundle) = &bundle {
            if !bundle.servers.iter().any(|key| keys.contains(key)) {
                bail!(
                    "the bundle is of another server than {} is for, whose key would sign the medium",
                    operator.config.display()
                );
            }
            let first = FirstConfig {
                bundle,
                device: &self.device,
                profile: self.profile,
            };
            contents.file("terminal/terminal.bundle", bundle.to_string().as_bytes())?;
            contents.file("terminal/terminal.toml", first.to_string().as_bytes())?;
        }
        contents.file(
            "terminal/starter",
            terminal::starter(&self.device, self.profile).as_bytes(),
        )?;
        let key = contents.sign(|sums| config::server::sign(&operator.config, sums))?;
        let octets = xorriso.write(contents.folder(), &self.output, |seal| {
            config::server::sign(&operator.config, seal)
        })?;
        self.tell(operator, &architectures, bundle.as_ref(), key, octets);
        Ok(ExitCode::SUCCESS)
    }

    fn bundle(&self, operator: &OperatorSocket) -> anyhow::Result<Option<Bundle>> {
        const NOBODY: &str = "the terminal would answer no call: name a number that this server calls from, --caller NUMBER";
        anyhow::ensure!(self.terminal.is_none() || !self.callers.is_empty(), NOBODY);
        let text = match (&self.terminal, &self.bundle) {
            (Some(name), _) => invite(operator, name, &self.callers, false, self.expires)?.bundle,
            (None, Some(path)) => {
                let octets = read(path)?;
                anyhow::ensure!(
                    octets.len() <= BUNDLE_OCTETS_MAX,
                    "{} is too long to be a bundle",
                    path.display()
                );
                String::from_utf8(octets)
                    .with_context(|| format!("{} is no bundle", path.display()))?
            }
            (None, None) => return Ok(None),
        };
        let bundle: Bundle = text.parse().context("the bundle cannot be used")?;
        anyhow::ensure!(!bundle.callers.is_empty(), NOBODY);
        anyhow::ensure!(
            bundle.secret.is_some(),
            "the bundle's secret is used up: make a new one with --terminal"
        );
        Ok(Some(bundle))
    }

    fn tell(
        &self,
        operator: &OperatorSocket,
        architectures: &BTreeSet<String>,
        bundle: Option<&Bundle>,
        key: PublicKey,
        octets: u64,
    ) {
        if operator.json {
            operator.print(&json!({
                "image": self.output.display().to_string(),
                "octets": octets,
                "architectures": architectures,
                "terminal": bundle.map(|bundle| &bundle.name),
                "expires_at": bundle.map(|bundle| bundle.expires_at.to_string()),
                "key": key.to_string(),
            }));
            return;
        }
        let architectures = architectures
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        eprintln!(
            "wrote {} ({octets} octets), for {architectures}, signed by {key}",
            self.output.display()
        );
        if let Some(Bundle {
            name, expires_at, ..
        }) = bundle
        {
            eprintln!(
                "keep it secret: until {expires_at} anyone who has it can enrol as {name}, once"
            );
        }
        eprintln!("on the machine, as root: sh install.sh; before that, on one that you trust:");
        eprintln!(
            "  ringup medium verify {} --key={key}",
            self.output.display()
        );
    }
}

/// Check that an image, or what is on a medium, is what a server with this key has made
///
/// Of an image or a drive every octet is checked: the partition table and what is mounted by it, too. Of a folder: every file, and that
/// there is nothing else.
#[derive(Debug, Args)]
struct Verify {
    /// The image, the drive (/dev/sr0), or the folder where the medium is mounted
    medium: PathBuf,
    /// The server's public key, which did not come with the medium: 43 base64url characters, of which the first may be a hyphen
    #[arg(long, allow_hyphen_values = true)]
    key: PublicKey,
    /// The program that reads ISO 9660; not needed for a folder
    #[arg(long, value_name = "PATH", default_value = "xorriso")]
    xorriso: PathBuf,
}

impl Verify {
    fn run(self, operator: &OperatorSocket) -> anyhow::Result<ExitCode> {
        let medium = Medium::open(&self.medium, &self.xorriso)?;
        let shown = self.medium.display();
        let (text, signature) = (medium.small(SUMS)?, medium.small(SIGNATURE)?);
        // Nothing else is looked at before: what is not signed may be anything.
        if !self.key.has_signed(&text, &signature) {
            bail!(
                "{shown} was not made by the server with the key {}, or {SUMS} was changed",
                self.key
            );
        }
        let signed =
            sums::read(&text).with_context(|| format!("{SUMS} is signed, and cannot be read"))?;
        let mut faults = Vec::new();
        for name in medium.files()? {
            if !signed.contains_key(&name) && name != SUMS && name != SIGNATURE {
                faults.push(format!("{name} was added"));
            }
        }
        for (name, digest) in &signed {
            match medium.digest(name)? {
                None => faults.push(format!("{name} is missing")),
                Some(found) if found != *digest => faults.push(format!("{name} was changed")),
                Some(_) => {}
            }
        }
        let folders = signed.keys().flat_map(|name| sums::folders(name)).collect();
        match medium.besides(&folders, self.key) {
            Ok(found) => faults.extend(found),
            Err(error) => faults.push(format!("{error:#}")),
        }
        if !faults.is_empty() {
            bail!("{shown} is not what was made:\n  {}", faults.join("\n  "));
        }
        if operator.json {
            operator.print(&json!({ "files": signed.len(), "key": self.key.to_string() }));
        } else {
            println!(
                "{shown} is what the server with this key has made: {} files",
                signed.len()
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("could not read {}", path.display()))
}
