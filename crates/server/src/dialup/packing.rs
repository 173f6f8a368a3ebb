//! Contents packed for the line: each once, for all terminals that are brought it meanwhile; large ones one at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use delivery::{MessageId, Parcel};
use tokio::sync::{OnceCell, oneshot};

use store::Store;

/// How long a packed content is kept after its last use: the next call of a fan-out begins sooner.
const KEPT: Duration = Duration::from_secs(60);

/// Packed contents that are kept at once; what is in use is not counted out.
const KEPT_MAX: usize = 16;

/// The packed forms of messages that are being brought.
#[derive(Debug, Default)]
pub(super) struct Packing(Mutex<BTreeMap<MessageId, Entry>>);

#[derive(Debug)]
struct Entry {
    /// As it goes on the line: packed, or as it is if that does not pay.
    packed: Arc<OnceCell<Parcel>>,
    used: Instant,
}

impl Packing {
    /// Packs a message if that pays. `None`: it cannot be done, and goes as it is.
    pub(super) async fn pack(&self, parcel: Parcel, store: &Store) -> Option<Parcel> {
        let cell = self.cell(parcel.head().id, Instant::now());
        let packed = cell.get_or_try_init(|| packed(parcel.clone(), store.clone()));
        let packed = packed
            .await
            .inspect_err(|error| tracing::warn!(%error, "a content could not be packed"));
        Some(parcel.in_the_form_of(packed.ok()?))
    }

    fn cell(&self, id: MessageId, now: Instant) -> Arc<OnceCell<Parcel>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(id).or_insert_with(|| Entry {
            packed: Arc::default(),
            used: now,
        });
        entry.used = now;
        let cell = entry.packed.clone();
        entries.retain(|_, entry| {
            Arc::strong_count(&entry.packed) > 1 || now.duration_since(entry.used) < KEPT
        });
        while entries.len() > KEPT_MAX
            && let Some(oldest) = entries
                .iter()
                .filter(|(_, entry)| Arc::strong_count(&entry.packed) == 1)
                .min_by_key(|(_, entry)| entry.used)
                .map(|(id, _)| *id)
        {
            entries.remove(&oldest);
        }
        cell
    }
}

async fn packed(parcel: Parcel, store: Store) -> std::io::Result<Parcel> {
    let is_large = parcel.octets().held().is_none();
    let pack = move || parcel.pack(|| store.scratch());
    if !is_large {
        return tokio::task::spawn_blocking(pack).await?;
    }
    // Some 20 MiB of memory: a thread for all has them once, where each thread of a pool would keep as much in its allocator's arena.
    static LARGE: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || queue.into_iter().for_each(|job| job());
        // Without a thread the queue is gone, and so is each job.
        let _ = thread::Builder::new().name("packing".to_owned()).spawn(run);
        jobs
    });
    let (done, packed) = oneshot::channel();
    let job = move || {
        let _ = done.send(pack()); // the session may be gone
    };
    let _ = LARGE.send(Box::new(job));
    packed.await.map_err(std::io::Error::other)?
}

type Job = Box<dyn FnOnce() + Send>;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use delivery::{Digest, Manner, MessageHead};
    use jiff::Timestamp;

    use super::*;

    fn message(number: u8) -> Parcel {
        let content = Bytes::from(vec![number; 5000]);
        let head = MessageHead {
            id: MessageId::now(),
            content_type: "text/plain".parse().unwrap(),
            digest: Digest::of(&content),
            size: content.len() as u64,
        };
        Parcel::new(head, Manner::default(), content)
    }

    #[tokio::test]
    async fn a_message_for_many_is_packed_once_and_not_kept_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let (packing, parcel) = (Packing::default(), message(0));
        let first = packing.pack(parcel.clone(), &store).await.unwrap();
        let second = packing.pack(parcel.clone(), &store).await.unwrap();
        assert!(first.is_packed());
        let octets = |parcel: &Parcel| parcel.octets().held().unwrap().as_ptr();
        assert_eq!(octets(&first), octets(&second), "the same octets");

        for number in (1..).take(KEPT_MAX) {
            packing.pack(message(number), &store).await.unwrap();
        }
        let third = packing.pack(parcel.clone(), &store).await.unwrap();
        assert_ne!(octets(&first), octets(&third), "{KEPT_MAX} others came");

        packing.cell(message(99).head().id, Instant::now() + KEPT);
        assert_eq!(packing.0.lock().unwrap().len(), 1, "the others are over");
    }
}
