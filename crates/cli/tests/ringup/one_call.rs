//! A terminal that is connected, or being called, is not called again.

use rustix::process::Signal;

use crate::village::{FOR_EVER, Plan, Village};

/// Waits until the terminal has been told so many times that there is nothing more, and is connected all the same.
fn wait_lingering(village: &Village, times: usize) {
    village.chronicle.wait_nth("server", "nothing more", times);
    village.ask_until(&["terminal", "show", "owner"], |owner| {
        owner["connection"] == "connected"
    });
}

#[test]
fn what_is_accepted_while_the_terminal_lingers_rides_on_the_call_that_is_up() {
    let village = Village::found(Plan {
        linger: FOR_EVER,
        ..Plan::default()
    });
    let owner = village.start_owner();
    let mut calls = Vec::new();
    for (count, content) in (1..).zip(["first", "second", "third"]) {
        let message = village.send("tel:301", &village.write("report", content));
        calls.push(village.wait_delivered(&message).field("call"));
        assert_eq!(village.received(&message), content.as_bytes());
        wait_lingering(&village, count);
    }
    assert_eq!(calls, vec![calls[0].clone(); 3]);
    owner.kill();
    assert_eq!(village.server_calls(1)[0]["id"], calls[0].as_str());
    village.exchange_calls(1);
}

#[test]
fn a_terminal_that_has_called_by_itself_is_not_called_and_gets_what_comes_on_its_own_call() {
    gets_what_comes_on_its_own_call(Plan::default());
}

#[test]
fn a_terminal_that_has_called_a_separate_dial_up_server_gets_what_comes_on_its_own_call() {
    gets_what_comes_on_its_own_call(Plan::at(&["201"]));
}

fn gets_what_comes_on_its_own_call(plan: Plan) {
    let village = Village::found(plan);
    let owner = village.start(
        "owner",
        &["dial-in", "--config", "owner.toml", "--linger", FOR_EVER],
    );
    let mut calls = Vec::new();
    for (count, content) in (1..).zip(["first", "second"]) {
        wait_lingering(&village, count);
        let message = village.send("ip:10.77.0.2", &village.write("report", content));
        calls.push(village.wait_delivered(&message).field("call"));
        assert_eq!(village.received(&message), content.as_bytes());
    }
    assert_eq!(calls[0], calls[1]);
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["call"],
        calls[0].as_str()
    );
    owner.kill();
    let server_calls = village.server_calls(1);
    assert_eq!(
        (&server_calls[0]["id"], &server_calls[0]["direction"]),
        (&calls[0].clone().into(), &"incoming".into())
    );
    assert_eq!(village.exchange_calls(1)[0]["caller"], "301");
}

#[test]
fn a_terminal_that_calls_by_itself_fetches_what_waits_and_hangs_up() {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    // No starter runs at the terminal's modem: the server's calls are not answered.
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village
        .chronicle
        .wait_field("exchange", "call ended", "outcome", "no_answer");
    // Busy with the server's next call, perhaps: then it is tried again, as a person would.
    while village.run(&["dial-in", "--config", "owner.toml"]).code != Some(0) {}
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"coin box full");
}

#[test]
fn messages_accepted_while_the_call_is_being_set_up_ride_on_it() {
    let village = Village::found(Plan {
        no_answer_after: "60s",
        ..Plan::default()
    });
    let owner = village.start_owner();
    owner.signal(Signal::STOP); // a slow terminal
    let first = village.send("tel:301", &village.write("report", "first"));
    village.chronicle.wait("exchange", "ringing");
    let second = village.send("tel:301", &village.write("report", "second"));
    let third = village.send("ip:10.77.0.2", &village.write("report", "third"));
    owner.signal(Signal::CONT);
    let calls =
        [&first, &second, &third].map(|message| village.wait_delivered(message).field("call"));
    let mut arrived = [first, second, third];
    arrived.sort();
    assert_eq!(village.inbox(), arrived);
    village.chronicle.wait("server", "call ended");
    assert_eq!(village.server_calls(1)[0]["outcome"], "completed");
    assert_eq!([&calls[1], &calls[2]], [&calls[0]; 2]);
    village.exchange_calls(1);
}
