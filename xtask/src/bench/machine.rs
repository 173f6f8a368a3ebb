//! What the figures were measured on, when, and how.

use std::fs;
use std::process::Command;

use jiff::Zoned;

use crate::workspace::Workspace;

/// A Markdown list.
pub(super) fn describe(workspace: &Workspace) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpu =
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|total| total.trim_end_matches(" kB").parse::<f64>().ok());
    let memory = memory.map_or_else(
        || "unknown".to_owned(),
        |kib| format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    );
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".to_owned());
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let rustc = workspace.output(rustc(&["--version"]))?;
    let commit = workspace.output(git(&["describe", "--always", "--dirty"]))?;
    Ok(format!(
        "- machine: {cores} cores ({cpu}), {memory} of memory, kernel {}\n- before measuring: load {load} (1, 5, 15 minutes)\n- date: {}\n- of: commit {}, {}\n- command: `cargo xtask {}`",
        kernel.trim(),
        Zoned::now().strftime("%F %H:%M %Z"),
        commit.trim(),
        rustc.trim(),
        std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    ))
}

/// What a file of `name: value` lines says of `name`. `None`: there is no such file or name.
pub(super) fn field(path: &str, name: &str) -> Option<String> {
    value(&fs::read_to_string(path).ok()?, name).map(str::to_owned)
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .trim_start()
            .strip_prefix(':')
            .map(str::trim)
    })
}

fn rustc(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(arguments);
    command
}

fn git(arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_whole_name() {
        let text =
            "model\t\t: 85\nmodel name\t: Some CPU\nPss_Dirty:  136 kB\nPss:        644 kB\n";
        assert_eq!(value(text, "model name"), Some("Some CPU"));
        assert_eq!(value(text, "Pss"), Some("644 kB"));
        assert_eq!(value(text, "Rss"), None);
    }
}
