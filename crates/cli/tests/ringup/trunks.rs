//! The way between dial-up servers and their information server: it can be cut, and leads to whichever server runs.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

#[derive(Debug)]
pub(crate) struct Trunks {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
}

#[derive(Debug, Default)]
struct Way {
    to: Option<String>,
    streams: Vec<TcpStream>,
}

impl Trunks {
    pub(crate) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (address, way) = (
            listener.local_addr().expect("it is bound"),
            Arc::<Mutex<Way>>::default(),
        );
        let leads = way.clone();
        // Ends with the test.
        spawn(move || {
            listener
                .incoming()
                .map_while(Result::ok)
                .for_each(|near| carry(near, &leads));
        });
        Self { address, way }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on it leads to this server.
    pub(crate) fn lead_to(&self, address: &str) {
        self.way.lock().expect("nobody panics").to = Some(address.to_owned());
    }

    /// Cuts every connection there is. Dial-up servers come anew.
    pub(crate) fn cut(&self) {
        let mut way = self.way.lock().expect("nobody panics");
        for stream in way.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // gone already is as good
        }
    }
}

fn carry(near: TcpStream, way: &Mutex<Way>) {
    let mut way = way.lock().expect("nobody panics");
    let Some(far) = way.to.as_ref().and_then(|to| TcpStream::connect(to).ok()) else {
        return;
    };
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("it is a socket");
        way.streams
            .push(stream.try_clone().expect("there are file descriptors"));
    }
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (mut from, mut to) = (
            from.try_clone().expect("as above"),
            to.try_clone().expect("as above"),
        );
        spawn(move || {
            let _ = io::copy(&mut from, &mut to); // either end has gone
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
