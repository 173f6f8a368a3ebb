//! What the world in virtual time says of dispatch and of money.

use std::process::Command;

use super::Extent;
use super::table::SHORTEST;
use crate::workspace::Workspace;

pub(super) fn dispatch(workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
    let table = table(workspace, extent, "dispatch")?;
    Ok(format!(
        "### dispatch\n\nOne thread; each call ends at once, one in ten busy, so that it backs off.\n\n{table}"
    ))
}

pub(super) fn cost(workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
    let table = table(workspace, extent, "cost")?;
    Ok(format!(
        "### cost\n\nA week of 100 machines, simulated: each reports its sales every hour from 8 to 20, and a fault every other day. \
A call is 15 s and 1 s for each message. 3 minutes: 9.35 yen for each begun; per second: 0.1 yen, from 23 to 8 half of it.\n\n{table}"
    ))
}

fn table(workspace: &Workspace, extent: Extent, figure: &str) -> anyhow::Result<String> {
    eprintln!("== {figure}");
    let command = match extent {
        Extent::Full => {
            let words = ["--quiet", "--package", "ringup-world", "--", figure];
            extent.cargo(workspace, "run", &words)
        }
        // Built with everything else.
        Extent::Shortest => {
            let mut world = Command::new(extent.program(workspace, "ringup-world")?);
            world.arg(figure).env(SHORTEST, "1");
            world
        }
    };
    workspace.output(command)
}
