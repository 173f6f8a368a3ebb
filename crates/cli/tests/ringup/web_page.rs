//! A page on a plain web server, which can be changed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Serves it until the process ends; gives its URL. Its ETag is its length.
pub(crate) fn serve(content: &Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, content) = (
        format!("http://{}/feed", listener.local_addr().unwrap()),
        content.clone(),
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), Vec::new());
            let mut octets = [0; 2000];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut octets) {
                    Ok(count @ 1..) => request.extend(&octets[..count]),
                    _ => break,
                }
            }
            let content = content.lock().unwrap().clone();
            let etag = format!("\"{}\"", content.len());
            let is_known = String::from_utf8_lossy(&request)
                .to_lowercase()
                .contains(&format!("if-none-match: {etag}"));
            let (status, content) = if is_known {
                ("304 Not Modified", String::new())
            } else {
                ("200 OK", content)
            };
            let length = content.len();
            let head = format!(
                "HTTP/1.1 {status}\r\netag: {etag}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all((head + &content).as_bytes()); // who asked may have gone
        }
    });
    url
}
