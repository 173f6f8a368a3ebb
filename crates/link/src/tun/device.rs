//! A TUN device: the crate behind it shows nowhere else.

#[cfg(feature = "tun")]
pub(super) use kernel::Device;
#[cfg(not(feature = "tun"))]
pub(super) use nothing::Device;

#[cfg(feature = "tun")]
mod kernel {
    use std::io;
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd as _;

    use tun_rs::{AsyncDevice, DeviceBuilder};

    /// The kernel puts the first free number there.
    const NAME: &str = "ringup%d";

    /// A network interface of the kernel that this process is the other end of. It goes when this is dropped.
    pub(in super::super) struct Device(AsyncDevice);

    impl Device {
        /// An interface between the two addresses of a link, up.
        pub(in super::super) fn open(
            local: Ipv4Addr,
            peer: Ipv4Addr,
            mtu: u16,
        ) -> io::Result<Self> {
            DeviceBuilder::new()
                .name(NAME)
                .mtu(mtu)
                .ipv4(local, 32, Some(peer))
                .build_async()
                .map(Self)
        }

        pub(in super::super) fn name(&self) -> String {
            self.0.name().unwrap_or_default()
        }

        /// A packet from the kernel. May be dropped.
        pub(in super::super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.recv(buffer).await
        }

        /// A packet to the kernel, now or not at all. Not by the crate's `try_send`: that refuses everything until the
        /// runtime has looked at the device for the first time.
        pub(in super::super) fn write(&self, packet: &[u8]) -> io::Result<usize> {
            Ok(rustix::io::write(self.0.as_fd(), packet)?)
        }
    }
}

#[cfg(not(feature = "tun"))]
mod nothing {
    use std::io;
    use std::net::Ipv4Addr;

    /// There is none in a build without the feature.
    pub(in super::super) enum Device {}

    impl Device {
        pub(in super::super) fn open(
            _local: Ipv4Addr,
            _peer: Ipv4Addr,
            _mtu: u16,
        ) -> io::Result<Self> {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this build has no TUN: build with --features tun",
            ))
        }

        pub(in super::super) fn name(&self) -> String {
            match *self {}
        }

        pub(in super::super) async fn read(&self, _buffer: &mut [u8]) -> io::Result<usize> {
            match *self {}
        }

        pub(in super::super) fn write(&self, _packet: &[u8]) -> io::Result<usize> {
            match *self {}
        }
    }
}
