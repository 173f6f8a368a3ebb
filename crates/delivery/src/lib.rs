//! What the two ends say on a link: the connected notice, messages, receipts.
//!
//! The terminal opens a TCP connection to the server's [`PORT`] and writes a [`Preamble`]: that is the connected notice.
//! From there the shape is call home (RFC 8071): the **server** is the TLS and HTTP/2 client ([`Courier`]), the **terminal**
//! the TLS and HTTP/2 server ([`receive`]); [`proof`] says how each knows the other. A message is one `PUT /m/{id}`; the 2xx answer is the receipt and says "it is on my
//! disk". `POST /nothing-more` ends the session; the terminal hangs up on it at once, unless it has something to say ([`Outbox`]).
//!
//! [`Plan`] decides what is said next; it is pure.

mod courier;
mod encoding;
mod environment;
mod fields;
mod message;
mod octets;
mod outbox;
mod plan;
mod portions;
mod preamble;
pub mod proof;
mod receiver;
mod state_folder;
mod terminal_id;
pub mod topic;

pub use courier::{Courier, DeliveryError, EnrolError, Receipt};
pub use encoding::{EncodingError, UNPACKED_OCTETS_MAX, UnpackError, unpack};
pub use environment::passed_on;
pub use message::{
    Arrival, ContentType, ContentTypeError, Digest, DigestError, Manner, MessageHead, MessageId,
    MessageIdError, Parcel, Urgency, UrgencyError,
};
pub use octets::{Departure, OctetReader, Octets, Unread};
pub use outbox::{
    Conditions, ITEM_HEAD_OCTETS_MAX, ItemAnswer, ItemHead, ItemTooLong, Outbox, OutboxError,
    OutboxReader, Outgoing, Said, read_item_head, write_item_head,
};
pub use plan::{Due, Plan, Step};
pub use preamble::{Later, PREAMBLE_OCTETS_MAX, Preamble, PreambleError, Reason};
pub use receiver::{Enrolment, Inbox, Progress, ReceiveError, StoreError, Stored, receive};
pub use state_folder::{StateFolderError, StateLock, close_to_others, private_folder};
pub use terminal_id::{TerminalId, TerminalIdError};
pub use topic::{Topic, TopicError, TopicFilter};

/// The TCP port on which a server takes connected notices, over links.
pub const PORT: u16 = 7411;

/// The TCP port on which a server takes submissions, over links and (by default) on the host.
pub const SUBMISSION_PORT: u16 = 7480;

/// The fields of resumable uploads (IETF draft-ietf-httpbis-resumable-upload).
const UPLOAD_OFFSET: &str = "upload-offset";
const UPLOAD_LENGTH: &str = "upload-length";
const UPLOAD_COMPLETE: &str = "upload-complete";

/// The digest of what is on the line (RFC 9530 §2).
const CONTENT_DIGEST: &str = "content-digest";

/// Octets of content that go without their digest: one DATA frame (RFC 9113 §4.2), and so one message of TLS.
const DIGEST_ABOVE: u64 = 16 * 1024;

/// The field with which a server says that nothing else waits: it hangs up on the receipt.
const LAST: &str = "last";

/// The field with which a terminal says, on a receipt, that it stays for a while.
const LINGERS: &str = "lingers";

/// The field with which a terminal says, where the server would hang up, that it has something to say itself.
const OUTBOX: &str = "outbox";

/// The fields with which a server refuses an item: a status, and why.
const REFUSED: &str = "refused";
const REASON: &str = "reason";

/// The fields that say how a message is to be treated; each is left out where it says the usual.
const TOPIC: &str = "topic";
const URGENCY: &str = "urgency";
const EXPIRES: &str = "expires";

/// Octets that HTTP/2 may hold unsent for a stream: one frame. What bounds a session is its way out ([`portions`]).
const SEND_BUFFER_OCTETS: usize = 16 * 1024;

/// HTTP/2 flow-control window: more than the delay-bandwidth product of any line this is for, and what counts when nobody says
/// anything (RFC 9113 §6.5.2), so that nobody does.
const WINDOW_OCTETS: u32 = 65_535;
