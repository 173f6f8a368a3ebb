//! The state folder: used by one server, closed to others, and still there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn large(octet: u8) -> NewMessage {
    message(&[octet; INLINE_OCTETS_MAX + 1], &[owner().id])
}

/// Files and folders below a folder that others have rights to.
fn open_to_others(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(open_to_others(&path));
        }
        if mode(&path) & 0o077 != 0 {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_second_server_on_the_folder_is_refused_and_what_the_first_has_under_way_stays_so() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    let call = call_placed();
    store
        .record_call(call.clone(), Timestamp::now())
        .await
        .unwrap();
    store
        .claim_connection(owner().id, Connection::Calling(call.id))
        .await
        .unwrap();
    assert!(begins(&store, &new, call.id).await);

    let second = Store::open(folder.path(), Timestamp::now());
    let Err(StoreError::State(error)) = second else {
        panic!("{second:?}")
    };
    assert!(
        error
            .to_string()
            .contains(&format!("in use by process {}", std::process::id())),
        "{error}"
    );

    store
        .cancel(new.head.id, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    let entry = store.message(new.head.id).await.unwrap().unwrap();
    assert_eq!(
        entry.envelopes[0].verdict, None,
        "it is under way: {entry:?}"
    );
    assert_eq!(
        store.calls(Last(1)).await.unwrap()[0].outcome,
        None,
        "the call goes on"
    );
    assert_eq!(
        store.terminals().await.unwrap()[0].connection,
        Connection::Calling(call.id)
    );
    drop(store);
    open(&folder);
}

#[tokio::test]
async fn nothing_in_a_state_folder_is_for_others_whoever_made_it_and_whatever_was_there() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o755);
    for round in 1..=2 {
        let store = Store::open(&state, Timestamp::now()).unwrap();
        if round == 1 {
            store.add_terminal(owner()).await.unwrap();
        }
        store.accept(large(round), Timestamp::now()).await.unwrap();
        store
            .accept(message(b"small", &[owner().id]), Timestamp::now())
            .await
            .unwrap();
        assert!(state.join("ringup.db-wal").exists());
        assert_eq!(mode(&state), 0o700);
        assert_eq!(
            open_to_others(&state),
            Vec::<PathBuf>::new(),
            "round {round}"
        );
        let copy = folder.path().join(format!("copy-{round}"));
        store.backup(copy.clone()).done().await.unwrap();
        assert_eq!(mode(&copy), 0o700);
        assert_eq!(open_to_others(&copy), Vec::<PathBuf>::new());
        drop(store);
        // As an earlier version left it.
        set_mode(&state, 0o755);
        set_mode(&state.join("contents"), 0o755);
        set_mode(&state.join("ringup.db"), 0o644);
        fs::write(state.join("ringup.db-wal"), "").unwrap();
        set_mode(&state.join("ringup.db-wal"), 0o644);
    }
}

#[tokio::test]
async fn a_store_whose_folder_is_removed_accepts_nothing_more() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("state");
    let store = Store::open(&state, Timestamp::now()).unwrap();
    store.add_terminal(owner()).await.unwrap();
    store
        .accept(message(b"x", &[owner().id]), Timestamp::now())
        .await
        .unwrap();
    fs::remove_dir_all(&state).unwrap();
    let refused = store
        .accept(message(b"y", &[owner().id]), Timestamp::now())
        .await;
    assert!(
        matches!(refused, Err(StoreError::Removed(_))),
        "{refused:?}"
    );
    assert!(matches!(
        store.health(Timestamp::now()).await,
        Health::Failing(StoreError::Removed(_))
    ));
    // Another database in its place is not the one that is open.
    fs::create_dir(&state).unwrap();
    File::create(state.join("ringup.db")).unwrap();
    assert!(
        store
            .accept(message(b"z", &[owner().id]), Timestamp::now())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_stopped_store_leaves_all_of_it_in_the_database_file() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    let new = message(b"x", &[owner().id]);
    store.accept(new.clone(), Timestamp::now()).await.unwrap();
    drop(store);
    let log = fs::metadata(folder.path().join("ringup.db-wal"));
    assert!(log.is_err(), "{log:?}");
    let copy = TempDir::new().unwrap();
    fs::copy(
        folder.path().join("ringup.db"),
        copy.path().join("ringup.db"),
    )
    .unwrap();
    assert_eq!(due(&open(&copy)).await, [new.head.id]);
}

#[tokio::test]
async fn what_is_wrong_in_overwritten_pages_is_said() {
    let folder = TempDir::new().unwrap();
    let store = open_with_owner(&folder).await;
    for octet in 0..100 {
        store
            .accept(message(&[octet; 20_000], &[owner().id]), Timestamp::now())
            .await
            .unwrap();
    }
    assert_eq!(store.glance().await.unwrap(), Vec::<String>::new());
    drop(store);
    let file = File::options()
        .write(true)
        .open(folder.path().join("ringup.db"))
        .unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in (pages / 2..pages).step_by(7) {
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
    }
    let store = open(&folder);
    let faults = store.check().await.unwrap().faults;
    assert!(
        faults
            .iter()
            .any(|fault| fault.starts_with("database: ") && fault.contains("age")),
        "{faults:?}"
    );
    assert!(!store.glance().await.unwrap().is_empty());
}
