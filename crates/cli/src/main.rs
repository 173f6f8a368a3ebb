//! `ringup`: the one program that knows server, terminal and exchange together. Each of them is a feature, and can be built
//! alone.

// Every print goes through `output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod output;

mod check_config;
mod config;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "exchange")]
mod exchange;
mod logging;
#[cfg(feature = "serve")]
mod operator;
#[cfg(feature = "serve")]
mod secret;
#[cfg(feature = "serve")]
mod serve;
#[cfg(any(feature = "answer", feature = "serve", feature = "exchange"))]
mod signals;
#[cfg(feature = "demo")]
mod simulate;
#[cfg(any(feature = "answer", feature = "serve"))]
mod size;
#[cfg(any(feature = "answer", feature = "serve"))]
mod table;
#[cfg(feature = "answer")]
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::fs::Mode;
use rustix::process::umask;

#[cfg(not(any(feature = "answer", feature = "serve", feature = "exchange")))]
compile_error!(
    "ringup has nothing in it: choose at least one of the features answer (the terminal), serve and exchange"
);

/// Delivers data to machines that are not connected.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true, after_help = after_help())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The examples of the parts that are built in.
const EXAMPLES: &[&str] = &[
    #[cfg(feature = "demo")]
    demo::EXAMPLES,
    #[cfg(feature = "serve")]
    operator::EXAMPLES,
    #[cfg(feature = "answer")]
    terminal::EXAMPLES,
    #[cfg(feature = "exchange")]
    exchange::EXAMPLES,
];

const CODES_AND_LOGS: &str = "\
Exit codes: 0 done, 1 failed (the message says why and what to try), 2 wrong arguments or configuration.
Logs go to standard error; RINGUP_LOG sets what is logged (such as debug, or ringup_link=trace), RINGUP_LOG_FORMAT=json how.";

fn after_help() -> String {
    format!("Examples:{}\n\n{CODES_AND_LOGS}", EXAMPLES.concat())
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    #[cfg(feature = "demo")]
    Simulate(simulate::Simulate),
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    #[cfg(feature = "exchange")]
    Exchange(exchange::Exchange),
    CheckConfig(check_config::CheckConfig),
    #[cfg(feature = "answer")]
    #[command(flatten)]
    Terminal(Box<terminal::TerminalVerb>),
    #[cfg(feature = "serve")]
    #[command(flatten)]
    Operator(operator::OperatorVerb),
}

/// Closes what this process makes, and the programs that it starts, to other users. A umask that does so already stays: 0027 leaves
/// reading to the group.
fn close_to_other_users() {
    let others = Mode::RWXO;
    let before = umask(Mode::RWXG | others);
    if before.contains(others) {
        umask(before);
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    close_to_other_users();
    logging::start();
    let result = match arguments.command {
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo.run(),
        #[cfg(feature = "demo")]
        Command::Simulate(simulate) => simulate.run(),
        #[cfg(feature = "serve")]
        Command::Serve(serve) => serve.run(),
        #[cfg(feature = "exchange")]
        Command::Exchange(exchange) => exchange.run(),
        Command::CheckConfig(check) => check.run(),
        #[cfg(feature = "answer")]
        Command::Terminal(verb) => verb.run(),
        #[cfg(feature = "serve")]
        Command::Operator(verb) => verb.run(),
    };
    output::exit_code(result.unwrap_or_else(|error| {
        if error.is::<output::Closed>() {
            return ExitCode::SUCCESS;
        }
        eprintln!("ringup: {error:#}");
        let is_wrong = |cause: &(dyn std::error::Error + 'static)| {
            cause.is::<config::ConfigError>() || cause.is::<config::WrongArgument>()
        };
        ExitCode::from(if error.chain().any(is_wrong) { 2 } else { 1 })
    }))
}
