//! The files of the project as git sees them.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use anyhow::Context as _;

use super::code::Code;
use crate::workspace::Workspace;

/// Every text file that is in git or would be added by `git add --all`.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
pub(super) struct File {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// If it is Rust.
    pub(super) code: Option<Code>,
    /// Whether all of it is test code.
    pub(super) is_test: bool,
}

impl Tree {
    pub(super) fn read(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut git = Command::new("git");
        git.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let mut files = Vec::new();
        for path in workspace.output(git)?.split_terminator('\0') {
            let octets = match fs::read(workspace.root().join(path)) {
                Ok(octets) => octets,
                // Deleted, and git does not know yet; or a link to a folder.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) =>
                {
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("could not read {path}")),
            };
            // What is not UTF-8 is no text, and no rule is about it.
            if let Ok(text) = String::from_utf8(octets) {
                files.push(File::new(path, text)?);
            }
        }
        Ok(Self { files })
    }

    /// The file at exactly this path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| File::new(path, (*text).to_owned()).unwrap())
                .collect(),
        }
    }
}

impl File {
    fn new(path: &str, text: String) -> anyhow::Result<Self> {
        let code = path.ends_with(".rs").then(|| Code::read(&text)).transpose();
        let is_test = path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs");
        Ok(Self {
            path: path.to_owned(),
            code: code.with_context(|| path.to_owned())?,
            text,
            is_test,
        })
    }
}
