//! The guest's first file system: a cpio archive in the form that the kernel calls "newc".

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Initramfs(Vec<u8>);

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_600;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Initramfs {
    /// An empty one.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a folder, mode 0755.
    pub fn folder(self, path: &str) -> Self {
        self.entry(path, FOLDER, (0, 0), &[])
    }

    /// Adds a text file, mode 0600.
    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, FILE, (0, 0), content.as_bytes())
    }

    /// Adds a program, mode 0755.
    pub fn program(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, PROGRAM, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub fn link(self, path: &str, to: &str) -> Self {
        self.entry(path, LINK, (0, 0), to.as_bytes())
    }

    /// Adds a character device by its numbers.
    pub fn character_device(self, path: &str, major: u32, minor: u32) -> Self {
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[])
    }

    /// The archive.
    pub fn finish(self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]).0
    }

    fn entry(mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Self {
        let size = u32::try_from(content.len()).expect("a small file");
        let name = u32::try_from(path.len() + 1).expect("a short name");
        self.0.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, time, size, device, device of the entry, length of the name, check sum
        for field in [0, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name, 0] {
            self.0.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.0.extend_from_slice(path.as_bytes());
        self.0.push(0);
        self.align();
        self.0.extend_from_slice(content);
        self.align();
        self
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
