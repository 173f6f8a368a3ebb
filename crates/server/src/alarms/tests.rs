use super::*;
use model::directory::{Connection, Terminal, TrustedBy};
use store::{Quota, Quotas};

async fn room(store: &Store) -> Room {
    Room::open(
        store.clone(),
        &[Channel::Command],
        Telling::default(),
        Metrics::default(),
    )
    .await
    .unwrap()
}

fn raise(kind: AlarmKind, subject: &str) -> Input {
    Input::Raise {
        kind,
        subject: subject.to_owned(),
        detail: "why".to_owned(),
    }
}

fn subjects(alarms: &[Alarm]) -> Vec<&str> {
    alarms.iter().map(|alarm| alarm.subject.as_str()).collect()
}

#[test]
fn a_kind_is_one_of_eight_words() {
    assert!(
        AlarmKind::ALL
            .iter()
            .all(|kind| kind.as_str().parse() == Ok(*kind))
    );
    assert_eq!(
        "fire".parse::<AlarmKind>(),
        Err(model::alarm::AlarmKindError)
    );
}

#[test]
fn a_detail_from_outside_is_cut_between_letters() {
    let cut = short("ö".repeat(10_000));
    assert!(cut.len() <= DETAIL_OCTETS_MAX && cut.len() > DETAIL_OCTETS_MAX - 4);
}

#[tokio::test]
async fn an_alarm_stands_over_a_restart_and_is_cleared_once_after_it() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let mut room = room(&store).await;
        room.take(&mut vec![
            raise(AlarmKind::DialLoop, "owner"),
            raise(AlarmKind::DialLoop, "owner"),
        ])
        .await;
    }
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let mut room = room(&store).await;
    assert_eq!(subjects(&room.board.standing()), ["owner"]);
    room.take(&mut vec![raise(AlarmKind::DialLoop, "owner")])
        .await;
    let clear = || Input::Clear {
        kind: AlarmKind::DialLoop,
        subject: "owner".into(),
    };
    room.take(&mut vec![clear(), clear()]).await;
    let all = store.alarms_after(store::Last(10), None).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].cleared_at.is_some());
    assert_eq!(store.standing_alarms().await.unwrap(), []);
    assert_eq!(store.clean_alarms(Timestamp::MAX).await.unwrap(), 1);
}

#[tokio::test]
async fn lines_that_are_not_configured_any_more_have_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let mut room = room(&store).await;
    let kind = AlarmKind::LineOutOfOrder;
    let keep = Input::Keep {
        kind,
        subjects: ["line-1".to_owned()].into(),
    };
    room.take(&mut vec![
        raise(kind, "line-1"),
        raise(kind, "line-2"),
        raise(AlarmKind::DialLoop, "line-2"),
        keep,
    ])
    .await;
    assert_eq!(room.board.standing().len(), 2);
}

fn message(content: Vec<u8>, terminal: delivery::TerminalId) -> store::NewMessage {
    let content = bytes::Bytes::from(content);
    let head = delivery::MessageHead {
        id: delivery::MessageId::now(),
        content_type: delivery::ContentType::octets(),
        digest: delivery::Digest::of(&content),
        size: content.len() as u64,
    };
    let (provider, handling) = ("vending".parse().unwrap(), store::Handling::default());
    store::NewMessage {
        head,
        provider,
        content: content.into(),
        terminals: vec![terminal],
        subscribers: None,
        handling,
    }
}

async fn add_owner(store: &Store) -> delivery::TerminalId {
    let id = delivery::TerminalId::from_octets([1; 8]);
    let connection = Connection::Down;
    store
        .add_terminal(Terminal {
            id,
            name: "owner".parse().unwrap(),
            number: None,
            address: None,
            trusted_by: TrustedBy::default(),
            connection,
        })
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn a_disk_that_refuses_messages_raises_an_alarm_that_is_cleared_when_it_has_been_well_for_a_while()
 {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let terminal = add_owner(&store).await;
    let mut room = room(&store).await;
    room.look().await;
    assert_eq!(room.board.standing(), []);
    store.limit_pages(Some(2)).await;
    store
        .accept(message(vec![7; 60_000], terminal), Timestamp::now())
        .await
        .unwrap_err();
    room.look().await;
    assert_eq!(subjects(&room.board.standing()), ["store"]);
    store.limit_pages(None).await;
    room.look().await;
    assert_eq!(
        subjects(&room.board.standing()),
        ["store"],
        "not at once: it may be full again"
    );
    for _ in 0..LOOKS_A_MINUTE {
        room.look().await;
    }
    assert_eq!(room.board.standing(), []);
    let all = store.alarms_after(store::Last(10), None).await.unwrap();
    assert_eq!(subjects(&all), ["store"], "{all:?}");
    assert!(
        all[0].cleared_at.is_some() && all[0].detail.contains("disk is full"),
        "{all:?}"
    );
}

#[tokio::test]
async fn alarms_that_the_disk_does_not_take_stand_and_are_kept_when_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let mut room = room(&store).await;
    store.limit_pages(Some(0)).await;
    let mut many: Vec<_> = (0..500)
        .map(|number| raise(AlarmKind::DialLoop, &format!("{number:0200}")))
        .collect();
    room.take(&mut many).await;
    assert_eq!(room.board.standing().len(), 500);
    assert_eq!(store.standing_alarms().await.unwrap(), [], "all or nothing");
    store.limit_pages(None).await;
    room.look().await;
    assert_eq!(
        store.standing_alarms().await.unwrap().len(),
        501,
        "and that the disk was full"
    );
    let notice = store.next_notice(Channel::Command).await.unwrap().unwrap();
    assert_eq!(
        notice.alarm.kind,
        AlarmKind::Store,
        "the others were told from memory"
    );
}

#[tokio::test]
async fn a_quotas_alarm_is_cleared_when_less_than_four_fifths_wait() {
    let folder = tempfile::tempdir().unwrap();
    let quotas = Quotas {
        terminal: Quota {
            messages: 5,
            octets: u64::MAX,
        },
        ..Quotas::default()
    };
    let store = Store::open(folder.path(), Timestamp::now())
        .unwrap()
        .with_quotas(quotas);
    let terminal = add_owner(&store).await;
    let mut near = Vec::new();
    let mut first = None;
    for _ in 0..4 {
        let new = message(vec![7], terminal);
        first.get_or_insert(new.head.id);
        near.extend(store.accept(new, Timestamp::now()).await.unwrap().near);
    }
    let [near] = near.as_slice() else {
        panic!("{near:?}")
    };
    let mut room = room(&store).await;
    room.take(&mut vec![raise(AlarmKind::Quota, &near.subject())])
        .await;
    room.look().await;
    assert_eq!(
        subjects(&room.board.standing()),
        ["for terminal owner: messages"]
    );
    store
        .delivered(
            first.unwrap(),
            terminal,
            line::CallId::now(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    room.looks = 0;
    room.look().await;
    assert_eq!(room.board.standing(), []);
}

#[tokio::test]
async fn a_budgets_alarm_is_over_with_its_day() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let mut room = room(&store).await;
    let yesterday = Timestamp::now() - jiff::SignedDuration::from_hours(24);
    room.board.raise(
        AlarmKind::Budget,
        "the server".into(),
        String::new(),
        yesterday,
    );
    room.board.raise(
        AlarmKind::Budget,
        "the line line-1".into(),
        String::new(),
        Timestamp::now(),
    );
    room.look().await;
    assert_eq!(subjects(&room.board.standing()), ["the line line-1"]);
}
