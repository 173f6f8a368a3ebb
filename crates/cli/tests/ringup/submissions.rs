//! What is not accepted: each with its status, the field that is wrong, and the remedy; and nothing is stored.

use crate::http::Answer;
use crate::village::{Plan, Village};

const SIZE_MAX: u32 = 1000;

fn assert_problem(answer: &Answer, status: u16, field: &str, remedy: &str, what: &str) {
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert_eq!(
        (answer.status, answer.body["field"].as_str()),
        (status, Some(field)),
        "{what}: {detail}"
    );
    assert!(
        detail.contains(remedy),
        "{what}: {detail:?} does not say {remedy:?}"
    );
}

#[test]
fn a_submission_that_cannot_be_delivered_is_refused_with_field_and_remedy_and_not_stored() {
    let village = Village::found(Plan {
        size_max: SIZE_MAX,
        ..Plan::default()
    });
    let token = std::fs::read_to_string(village.path("token")).unwrap();
    let submit = |query: &str, token: Option<&str>, body: &[u8]| {
        let authorization = token
            .map(|token| format!("\nAuthorization: Bearer {token}"))
            .unwrap_or_default();
        let length = body.len();
        let request =
            format!("POST /v1/messages{query} HTTP/1.1\nContent-Length: {length}{authorization}");
        village.submission(&request, body)
    };
    let known = Some(token.as_str());
    for (what, query, token, status, field, remedy) in [
        (
            "unknown address",
            "?to=ip:10.77.0.99",
            known,
            404,
            "to",
            "ip:10.77.0.99; the server's operator",
        ),
        (
            "unknown number",
            "?to=tel:999",
            known,
            404,
            "to",
            "tel:999; the server's operator",
        ),
        (
            "unknown name",
            "?to=terminal:nobody",
            known,
            404,
            "to",
            "terminal:nobody; the server's operator",
        ),
        (
            "one of two unknown",
            "?to=tel:301&to=tel:999",
            known,
            404,
            "to",
            "tel:999",
        ),
        (
            "look-alike number",
            "?to=tel:0301",
            known,
            404,
            "to",
            "tel:0301",
        ),
        ("no destination", "", known, 400, "to", "?to=tel:201"),
        (
            "no scheme",
            "?to=301",
            known,
            400,
            "to",
            "tel:NUMBER, ip:ADDRESS or terminal:NAME",
        ),
        ("no number", "?to=tel:3O1", known, 400, "to", "digits only"),
        (
            "no address",
            "?to=ip:10.77",
            known,
            400,
            "to",
            "not an IPv4 address",
        ),
        (
            "unknown query key",
            "?too=tel:301",
            known,
            400,
            "query",
            "to=DESTINATION",
        ),
        (
            "no token",
            "?to=tel:301",
            None,
            401,
            "authorization",
            "ask the server's operator",
        ),
        (
            "wrong token",
            "?to=tel:301",
            Some("rup_AAAA"),
            401,
            "authorization",
            "ask the server's operator",
        ),
        (
            "token cut short",
            "?to=tel:301",
            Some(&token[..20]),
            401,
            "authorization",
            "ask the server's operator",
        ),
        (
            "stranger with a bad query",
            "?too=x",
            None,
            401,
            "authorization",
            "ask the server's operator",
        ),
    ] {
        assert_problem(
            &submit(query, token, b"coin box full"),
            status,
            field,
            remedy,
            what,
        );
    }

    let too_large = vec![b'x'; SIZE_MAX as usize + 1];
    assert_problem(
        &submit("?to=tel:301", known, &too_large),
        413,
        "body",
        "submission.size_max",
        "announced size",
    );
    let request = format!(
        "POST /v1/messages?to=tel:301 HTTP/1.1\nTransfer-Encoding: chunked\nAuthorization: Bearer {token}"
    );
    let chunked = [
        format!("{:x}\r\n", too_large.len()).as_bytes(),
        &too_large,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    assert_problem(
        &village.submission(&request, &chunked),
        413,
        "body",
        "submission.size_max",
        "size not announced",
    );
    let request = request + "\nContent-Type: none of your business";
    assert_problem(
        &village.submission(&request, b"0\r\n\r\n"),
        400,
        "content-type",
        "",
        "bad content type",
    );

    assert_eq!(village.ask(&["message", "list"]), serde_json::json!([]));
    assert!(
        std::fs::read_dir(village.path("server/contents"))
            .unwrap()
            .next()
            .is_none()
    );

    assert_eq!(
        submit("?to=tel:301", known, &too_large[1..]).status,
        202,
        "the largest that is allowed is taken"
    );
}

#[test]
fn send_says_what_was_refused_and_what_to_try_and_exits_with_3_and_with_2_for_a_file_that_is_not_there()
 {
    let village = Village::found(Plan {
        size_max: SIZE_MAX,
        ..Plan::default()
    });
    village.write("report", "coin box full");
    village.write("large", vec![b'x'; SIZE_MAX as usize + 1]);
    // So much that the answer comes while most of it has still to be sent.
    village.write("huge", vec![b'x'; 20_000_000]);
    village.write("wrong", "rup_AAAA");
    village.write("empty", "");
    let server = village.submission_address();
    for (token, to, file, says) in [
        (
            "token",
            "ip:10.77.0.99",
            "report",
            "404 Not Found): to: no terminal here has ip:10.77.0.99; the server's operator",
        ),
        (
            "token",
            "tel:999",
            "report",
            "404 Not Found): to: no terminal here has tel:999; the server's operator",
        ),
        (
            "token",
            "301",
            "report",
            "400 Bad Request): to: \"301\": a destination is tel:NUMBER, ip:ADDRESS",
        ),
        (
            "wrong",
            "tel:301",
            "report",
            "401 Unauthorized): authorization: the token",
        ),
        (
            "empty",
            "tel:301",
            "report",
            "401 Unauthorized): authorization: the token",
        ),
        (
            "token",
            "tel:301",
            "large",
            "413 Payload Too Large): body: the content is larger than 1000 octets",
        ),
        (
            "token",
            "tel:301",
            "huge",
            "413 Payload Too Large): body: the content is larger than 1000 octets",
        ),
        (
            "wrong",
            "tel:301",
            "huge",
            "401 Unauthorized): authorization: the token",
        ),
        ("no-token", "tel:301", "report", "no-token"),
        ("token", "tel:301", "no-file", "no-file"),
    ] {
        let sent = village.run(&[
            "send",
            "--server",
            &server,
            "--token-file",
            token,
            "--to",
            to,
            file,
        ]);
        let code = if says.contains("): ") { 3 } else { 2 }; // an answer of the server's, or a file that is not there
        assert_eq!(
            (sent.code, sent.stdout.as_str()),
            (Some(code), ""),
            "{token} {to} {file}"
        );
        assert!(
            sent.stderr.contains(says),
            "{token} {to} {file}: {:?} does not say {says:?}",
            sent.stderr
        );
    }
    let sent = village.run(&[
        "send",
        "--server",
        &server,
        "--token-file",
        "token",
        "report",
    ]);
    assert!(sent.stderr.contains("--to tel:301"), "{}", sent.stderr);
    assert_eq!(village.ask(&["message", "list"]), serde_json::json!([]));
}

#[test]
fn a_refused_submission_over_a_call_says_why_and_hangs_up() {
    let village = Village::found(Plan::default());
    village.write("report", "coin box full");
    let dialled = village.run(&[
        "dial-in",
        "--config",
        "vending.toml",
        "--to",
        "tel:999",
        "report",
    ]);
    assert_eq!(dialled.code, Some(1));
    assert!(
        dialled.stderr.contains("to: no terminal here has tel:999"),
        "{}",
        dialled.stderr
    );
    assert_eq!(village.exchange_calls(1)[0]["outcome"], "completed");
    assert_eq!(village.ask(&["message", "list"]), serde_json::json!([]));
}

#[test]
fn an_operators_fault_is_named_with_its_field() {
    let village = Village::found(Plan::default());
    let post = |path: &str, body: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\nContent-Type: application/json\nContent-Length: {}",
            body.len()
        );
        village.operator(&request, body.as_bytes())
    };
    for (what, body, status, field, names) in [
        ("no JSON", r#"{"name": "#, 400, "body", "EOF"),
        (
            "unknown key",
            r#"{"name":"x","nummer":"302"}"#,
            422,
            "body",
            "nummer",
        ),
        ("missing name", r#"{"number":"302"}"#, 422, "body", "name"),
        (
            "wrong type",
            r#"{"name":"x","number":302}"#,
            422,
            "body",
            "number",
        ),
        (
            "bad name",
            r#"{"name":"../x","number":"302"}"#,
            400,
            "name",
            "../x",
        ),
        (
            "bad number",
            r#"{"name":"x","number":"30x2"}"#,
            400,
            "number",
            "30x2",
        ),
        (
            "bad address",
            r#"{"name":"x","address":"10.77"}"#,
            400,
            "address",
            "10.77",
        ),
        (
            "neither number nor address",
            r#"{"name":"x"}"#,
            400,
            "number",
            "an address",
        ),
        (
            "taken name",
            r#"{"name":"owner","number":"302"}"#,
            409,
            "name",
            "",
        ),
        (
            "taken number",
            r#"{"name":"x","number":"301"}"#,
            409,
            "number",
            "",
        ),
        (
            "taken address",
            r#"{"name":"x","address":"10.77.0.2"}"#,
            409,
            "address",
            "",
        ),
    ] {
        assert_problem(&post("/terminals", body), status, field, names, what);
    }
    for (what, body, status, field, names) in [
        (
            "unknown key",
            r#"{"name":"x","token":"mine"}"#,
            422,
            "body",
            "token",
        ),
        ("taken name", r#"{"name":"vending"}"#, 409, "name", ""),
        (
            "taken number",
            r#"{"name":"x","number":"401"}"#,
            409,
            "number",
            "",
        ),
    ] {
        assert_problem(&post("/providers", body), status, field, names, what);
    }
    for (verb, says) in [
        (["terminal", "add", "x", "--number", "301"], "number: "),
        (
            ["terminal", "add", "x", "--address", "10.77.0.2"],
            "address: ",
        ),
        (["provider", "add", "x", "--number", "401"], "number: "),
    ] {
        let refused = village.run(&verb);
        assert_eq!(refused.code, Some(1), "{verb:?}");
        assert!(
            refused.stderr.contains(says),
            "{verb:?}: {}",
            refused.stderr
        );
    }
    assert_eq!(village.run(&["terminal", "show", "nobody"]).code, Some(1));
    assert_eq!(
        village
            .run(&["terminal", "add", "No Name", "--number", "302"])
            .code,
        Some(2)
    );
    assert_eq!(
        village.ask(&["terminal", "list"]).as_array().unwrap().len(),
        1
    );
    assert_eq!(
        village.ask(&["provider", "list"]).as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_list_shows_the_newest_and_says_when_there_are_older_ones() {
    let village = Village::found(Plan::default());
    let ids: Vec<_> = (0..3)
        .map(|number| village.send("tel:301", &village.write("report", [number])))
        .collect();
    let list = |limit: &str| {
        village.run(&[
            "message",
            "list",
            "--limit",
            limit,
            "--config",
            "server.toml",
        ])
    };
    let two = list("2");
    assert!(
        !two.stdout.contains(&ids[0])
            && two.stdout.contains(&ids[1])
            && two.stdout.contains(&ids[2]),
        "{two:?}"
    );
    assert!(two.stderr.contains("there are more: --after "), "{two:?}");
    let three = list("3");
    assert!(
        three.stdout.contains(&ids[0]) && three.stderr.is_empty(),
        "{three:?}"
    );
    assert_eq!(
        village
            .ask(&["message", "list", "--limit", "1"])
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(list("0").code, Some(2));
    let asked = village.operator("GET /calls?last=99999 HTTP/1.1", b"");
    assert_eq!(
        (asked.status, asked.body["field"].as_str()),
        (400, Some("last")),
        "{asked:?}"
    );
}
