//! `ringup`: the one program that knows server, terminal and exchange together.

mod config;
mod demo;
mod inbox;
mod logging;
mod machine;
mod operator;
mod outbox;
mod services;
mod simulate;
mod size;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Delivers data to machines that are not connected.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  ringup demo                                    see it all work, on a telephone exchange in software
  ringup demo --once --file photo.jpg            send a file of yours through two calls
  ringup serve --config server.toml              run a server
  ringup terminal add owner --number 301         add a machine that is called
  ringup send --to tel:301 --token-file token note.txt
  ringup message list                            what waits, what was delivered
  ringup message explain ID                      what became of a message, and why
  ringup alarm list                              what needs somebody to look at

Exit codes: 0 done, 1 failed (the message says why and what to try), 2 wrong arguments or configuration.
Logs go to standard error; RINGUP_LOG sets what is logged (such as debug, or ringup_link=trace), RINGUP_LOG_FORMAT=json how.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Simulate(simulate::Simulate),
    Serve(services::Serve),
    Exchange(services::Exchange),
    CheckConfig(services::CheckConfig),
    Send(machine::Send),
    DialIn(machine::DialIn),
    Connect(machine::Connect),
    Enrol(machine::Enrol),
    Inbox(inbox::InboxVerbs),
    Outbox(outbox::OutboxVerbs),
    Subscribe(outbox::Subscribe),
    Unsubscribe(outbox::Unsubscribe),
    Conditions(outbox::StateConditions),
    Wait(machine::Wait),
    Answer(machine::Answer),
    Terminal(operator::TerminalVerbs),
    Provider(operator::ProviderVerbs),
    Line(operator::LineVerbs),
    Call(operator::CallVerbs),
    Message(operator::MessageVerbs),
    Subscription(operator::SubscriptionVerbs),
    Plan(operator::Plan),
    Alarm(operator::AlarmVerbs),
    Store(operator::StoreVerbs),
    ServerKey(operator::ServerKeyVerbs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start();
    let result = match arguments.command {
        Command::Demo(demo) => demo.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Serve(serve) => serve.run(),
        Command::Exchange(exchange) => exchange.run(),
        Command::CheckConfig(check) => check.run(),
        Command::Send(send) => send.run(),
        Command::DialIn(dial_in) => dial_in.run(),
        Command::Connect(connect) => connect.run(),
        Command::Enrol(enrol) => enrol.run(),
        Command::Inbox(verbs) => verbs.run(),
        Command::Outbox(verbs) => verbs.run(),
        Command::Subscribe(subscribe) => subscribe.run(),
        Command::Unsubscribe(unsubscribe) => unsubscribe.run(),
        Command::Conditions(conditions) => conditions.run(),
        Command::Wait(wait) => wait.run(),
        Command::Answer(answer) => answer.run(),
        Command::Terminal(verbs) => verbs.run(),
        Command::Provider(verbs) => verbs.run(),
        Command::Line(verbs) => verbs.run(),
        Command::Call(verbs) => verbs.run(),
        Command::Message(verbs) => verbs.run(),
        Command::Subscription(verbs) => verbs.run(),
        Command::Plan(plan) => plan.run(),
        Command::Alarm(verbs) => verbs.run(),
        Command::Store(verbs) => verbs.run(),
        Command::ServerKey(verbs) => verbs.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("ringup: {error:#}");
        let is_config = error.chain().any(|cause| cause.is::<config::ConfigError>());
        ExitCode::from(if is_config { 2 } else { 1 })
    })
}
