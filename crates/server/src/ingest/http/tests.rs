//! Submissions as they come over a socket.
