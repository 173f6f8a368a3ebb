//! What programs did to their files and said to others, in the order in which it was done, as strace writes it down.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// What strace is to write down: all that changes files or names, and all that is said.
pub(super) const CALLS: &str = "trace=/write,fsync,fdatasync,sync_file_range,openat,/rename,/unlink,/mkdir,/rmdir,/truncate,\
                                link,linkat,symlink,symlinkat,sendto,sendmsg,fallocate,copy_file_range,sendfile,splice";

/// One call that succeeded.
#[derive(Debug)]
pub(super) struct Step {
    /// The step of the trace before which it began: whatever ended later may have come after it.
    pub(super) began: usize,
    pub(super) call: Call,
}

#[derive(Debug)]
pub(super) enum Call {
    Open {
        path: PathBuf,
        fd: String,
        is_new: bool,
        is_emptied: bool,
    },
    /// `at`: in the middle of the file, wherever the last write ended otherwise.
    Write {
        path: PathBuf,
        fd: String,
        at: Option<usize>,
        octets: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        size: usize,
    },
    /// Of a file or a folder.
    Sync {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// A file or an empty folder.
    Remove {
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
}

/// Reads a whole trace, made with `-f -y -xx`. A call that never came back, because of the end, has not been.
pub(super) fn read(text: &str) -> Vec<Step> {
    let mut unfinished = BTreeMap::new();
    let mut steps = Vec::new();
    // The last line may be half written.
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let Some((pid, rest)) = line.trim_end().split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, (steps.len(), begun.trim_end()));
            continue;
        }
        let (began, whole) = match rest
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            Some((_, end)) => {
                let Some((began, begun)) = unfinished.remove(pid) else {
                    continue;
                };
                (began, format!("{begun}{end}"))
            }
            None => (steps.len(), rest.to_owned()),
        };
        steps.extend(call(&whole).map(|call| Step { began, call }));
    }
    steps
}

/// `name(arguments) = result`; none if it failed or is a signal.
fn call(whole: &str) -> Option<Call> {
    let (name, rest) = whole.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    if !name
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
        || result.starts_with(['-', '?'])
    {
        return None;
    }
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let on = |index: usize| path_of(arguments[index]);
    Some(match name {
        "openat" => {
            let flags: Vec<&str> = arguments[2].split('|').collect();
            Call::Open {
                path: on_folder(&arguments[..2]),
                fd: result.split('<').next()?.to_owned(),
                is_new: flags.contains(&"O_CREAT"),
                is_emptied: flags.contains(&"O_TRUNC"),
            }
        }
        "write" | "sendto" => written(&arguments, None, result),
        "pwrite64" => written(
            &arguments,
            Some(arguments[3].parse().expect("an offset")),
            result,
        ),
        "writev" | "sendmsg" => written(&arguments, None, result),
        "fsync" | "fdatasync" => Call::Sync { path: on(0)? },
        "ftruncate" => Call::Truncate {
            path: on(0)?,
            size: arguments[1].parse().expect("a size"),
        },
        "rename" => Call::Rename {
            from: text_path(arguments[0]),
            to: text_path(arguments[1]),
        },
        "renameat" | "renameat2" => Call::Rename {
            from: on_folder(&arguments[..2]),
            to: on_folder(&arguments[2..4]),
        },
        "unlink" | "rmdir" => Call::Remove {
            path: text_path(arguments[0]),
        },
        "unlinkat" => Call::Remove {
            path: on_folder(&arguments[..2]),
        },
        "mkdir" => Call::MakeFolder {
            path: text_path(arguments[0]),
        },
        "mkdirat" => Call::MakeFolder {
            path: on_folder(&arguments[..2]),
        },
        other => panic!("the model of the disk does not know {other}"),
    })
}

/// Everything in quotes of a call that writes, as much of it as was taken.
fn written(arguments: &[&str], at: Option<usize>, result: &str) -> Call {
    let fd = arguments[0]
        .split('<')
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut octets: Vec<u8> = arguments[1..]
        .iter()
        .flat_map(|argument| quoted(argument))
        .flatten()
        .collect();
    octets.truncate(
        result
            .split(' ')
            .next()
            .and_then(|taken| taken.parse().ok())
            .expect("a count of octets"),
    );
    Call::Write {
        path: path_of(arguments[0]).unwrap_or_default(),
        fd,
        at,
        octets,
    }
}

/// The text in quotes in one argument.
fn quoted(argument: &str) -> Option<Vec<u8>> {
    let (_, rest) = argument.split_once('"')?;
    let (text, after) = rest.split_once('"')?;
    assert!(!after.starts_with("..."), "strace cut a text short");
    Some(octets(text))
}

fn octets(text: &str) -> Vec<u8> {
    let value = |hex: &str| u8::from_str_radix(hex, 16).expect("strace -xx writes hex");
    text.split("\\x").skip(1).map(value).collect()
}

/// Of `7</path>`; none of a file that has no name any more.
fn path_of(fd: &str) -> Option<PathBuf> {
    let (path, after) = fd.split_once('<')?.1.rsplit_once('>')?;
    (after.is_empty()).then(|| OsString::from_vec(octets(path)).into())
}

fn text_path(argument: &str) -> PathBuf {
    OsString::from_vec(quoted(argument).expect("a path is a text")).into()
}

/// `AT_FDCWD</folder>, "name"`; the name may be a path of its own.
fn on_folder(arguments: &[&str]) -> PathBuf {
    path_of(arguments[0])
        .unwrap_or_default()
        .join(text_path(arguments[1]))
}
