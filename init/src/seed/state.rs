//! The state folder `.baton-seed` of a target, and the target itself.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as rfs, AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::at::{self, CREATE, FOLDER, READ};
use super::error::{Error, Place};
use super::file::write_all;
use super::lock::{LOCK, OWNER};
use super::manifest::{Header, MAX_BYTES};
use super::scan::size as size_of;
use super::stage::Stage;
use super::tree::Time;
use super::{INTENT, MANIFEST, STAGE, STATE};

/// Written before it is renamed to the intent.
const INTENT_DRAFT: &str = "intent.new";

/// Kinds of file systems whose writes may fail after they returned, as `statfs` numbers them: NFS,
/// SMB (two), FUSE, Ceph, 9P, Lustre, GPFS, AFS.
const REMOTE: [u32; 9] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x00c3_6400,
    0x0102_1997,
    0x0bd0_0bd0,
    0x4750_4653,
    0x5346_414f,
];

/// A target folder that exists.
#[derive(Debug)]
pub struct Target {
    /// The open folder.
    pub fd: OwnedFd,
    /// Its place.
    pub place: Place,
}

/// A target with its state folder.
#[derive(Debug)]
pub struct State {
    /// The target.
    pub target: Target,
    /// The open state folder.
    pub fd: Arc<OwnedFd>,
    /// Its place.
    pub place: Place,
    /// Folders that were made for the target, outermost first.
    made: Vec<PathBuf>,
    /// The target's time before we made anything in it, where we made the state folder.
    before: Option<Time>,
}

impl Target {
    /// Opens the target, where there is one.
    ///
    /// # Errors
    /// Where it cannot be opened, or is no folder.
    pub fn open(path: &Path) -> Result<Option<Target>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rfs::openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Target {
                fd,
                place: Place(path.to_owned()),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("open the target", path, e)),
        }
    }

    /// What it holds beside our own state and what a file system makes for itself.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = at::names(&self.fd).map_err(self.place.err("list", b""))?;
        names.retain(|name| name != STATE.as_bytes() && name != b"lost+found");
        names.sort_unstable();
        Ok(names)
    }

    /// Whether something is mounted here: then the folder belongs to the platform.
    pub fn is_mount(&self) -> bool {
        let own = rfs::statx(&self.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        let marked = own.is_ok_and(|s| s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        let device = |path: &str| rfs::statat(&self.fd, path, AtFlags::empty()).map(|s| s.st_dev);
        marked || device(".").ok() != device("..").ok()
    }

    /// The state folder, where there is one. A link of that name is refused.
    ///
    /// # Errors
    /// Where it cannot be opened, or is no folder.
    pub fn state(&self) -> Result<Option<OwnedFd>, Error> {
        match rfs::openat(&self.fd, STATE, FOLDER, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.place.err("open", STATE.as_bytes())(e)),
        }
    }
}

impl State {
    /// Opens a target and its state folder, and makes what is missing of them.
    ///
    /// # Errors
    /// Where that cannot be done; what was made is removed again.
    pub fn make(path: &Path) -> Result<State, Error> {
        let mut made = Vec::new();
        let state = State::make_all(path, &mut made);
        if state.is_err() {
            remove_folders(&made);
        }
        state
    }

    fn make_all(path: &Path, made: &mut Vec<PathBuf>) -> Result<State, Error> {
        let mut missing: Vec<&Path> = path
            .ancestors()
            .filter(|p| !p.as_os_str().is_empty())
            .take_while(|p| matches!(p.try_exists(), Ok(false)))
            .collect();
        missing.reverse();
        for folder in missing {
            match rfs::mkdirat(CWD, folder, Mode::from_raw_mode(0o755)) {
                Ok(()) => made.push(folder.to_owned()),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("make the folder", folder, e)),
            }
        }
        let target = Target::open(path)?;
        let target = target.ok_or_else(|| Error::io("open the target", path, Errno::NOENT))?;
        let stat = rfs::fstat(&target.fd).map_err(target.place.err("read", b""))?;
        let name = STATE.as_bytes();
        let new = match rfs::mkdirat(&target.fd, STATE, Mode::from_raw_mode(0o775)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(target.place.err("make the folder", name)(e)),
        };
        let fd = target.state()?;
        let fd = fd.ok_or_else(|| target.place.err("open", name)(Errno::NOENT))?;
        Ok(State {
            fd: Arc::new(fd),
            place: Place(path.join(STATE)),
            target,
            made: std::mem::take(made),
            before: new.then(|| at::mtime(&stat)),
        })
    }

    /// Opens the staging folder, and makes it where it is missing or where it is to be `fresh`.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn stage(&self, fresh: bool) -> Result<Stage, Error> {
        let name = STAGE.as_bytes();
        if fresh {
            at::remove_all(&*self.fd, name).map_err(self.place.err("remove", name))?;
        }
        let resume = match rfs::mkdirat(&*self.fd, STAGE, Mode::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(e) => return Err(self.place.err("make the folder", name)(e)),
        };
        Ok(Stage {
            fd: at::open_dir(&*self.fd, name).map_err(self.place.err("open", name))?,
            place: Place(self.place.0.join(STAGE)),
            resume,
        })
    }

    /// The staging folder, where there is one.
    pub fn staged(&self) -> Option<OwnedFd> {
        at::open_dir(&*self.fd, STAGE.as_bytes()).ok()
    }

    /// Writes what is about to be committed. From here on the seed goes forward.
    ///
    /// # Errors
    /// Where the volume refuses; then there is no intent.
    pub fn intend(&self, text: &[u8]) -> Result<(), Error> {
        let name = INTENT_DRAFT.as_bytes();
        let failed = || self.place.err::<Errno>("write", name);
        at::remove_all(&*self.fd, name).map_err(failed())?;
        let file = rfs::openat(&*self.fd, INTENT_DRAFT, CREATE, Mode::from_raw_mode(0o644))
            .map_err(failed())?;
        write_all(&file, text).map_err(failed())?;
        rfs::renameat(&*self.fd, INTENT_DRAFT, &*self.fd, INTENT).map_err(failed())
    }

    /// Waits until the volume has what was written, where that is `asked` for, and on network file
    /// systems always: they report a full volume late, and this is where it is heard.
    ///
    /// # Errors
    /// Where something could not be written after all.
    pub fn sync(&self, asked: bool) -> Result<(), Error> {
        let remote = rfs::fstatfs(&*self.fd).is_ok_and(|fs| REMOTE.contains(&(fs.f_type as u32)));
        match asked || remote {
            true => rfs::syncfs(&*self.fd).map_err(self.place.err("write to the volume of", b"")),
            false => Ok(()),
        }
    }

    /// Makes the intent the marker: the seed is done.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn mark(&self) -> Result<(), Error> {
        let name = STAGE.as_bytes();
        at::remove_all(&*self.fd, name).map_err(self.place.err("remove", name))?;
        rfs::renameat(&*self.fd, INTENT, &*self.fd, MANIFEST)
            .map_err(self.place.err("write", MANIFEST.as_bytes()))
    }

    /// Removes what interrupted runs left behind.
    ///
    /// # Errors
    /// Where the volume refuses.
    pub fn tidy(&self) -> Result<(), Error> {
        for name in leftovers(&self.fd).map_err(self.place.err("list", b""))? {
            if name != OWNER.as_bytes() {
                at::remove_all(&*self.fd, &name).map_err(self.place.err("remove", &name))?;
            }
        }
        Ok(())
    }

    /// Puts everything back as it was before a seed that failed before its commit.
    pub fn undo(self) {
        let _ = self.tidy();
        let marked = at::stat(&*self.fd, MANIFEST.as_bytes());
        if !matches!(marked, Ok(None)) {
            return;
        }
        let _ = at::remove_all(&self.target.fd, STATE.as_bytes());
        if let Some(before) = self.before {
            let _ = rfs::futimens(&self.target.fd, &at::times(before));
        }
        remove_folders(&self.made);
    }
}

fn remove_folders(made: &[PathBuf]) {
    for folder in made.iter().rev() {
        let _ = rfs::unlinkat(CWD, folder, AtFlags::REMOVEDIR);
    }
}

/// What is in a state folder beside the marker and the lock: signs of an interrupted run, or of one
/// that is at work.
///
/// # Errors
/// Where it cannot be read.
pub fn leftovers(state: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = at::names(state)?;
    names.retain(|name| name != MANIFEST.as_bytes() && name != LOCK.as_bytes());
    Ok(names)
}

/// Longest header of a manifest: a version of 256 bytes, each escaped, and the origin.
const HEAD: usize = 4096;
/// Longest last line of a manifest.
const TAIL: usize = 32;

/// The header of the marker, where it begins and ends as one does. What is between is not read.
pub fn peek(state: &OwnedFd) -> Option<Header> {
    let file = rfs::openat(state, MANIFEST, READ, Mode::empty()).ok()?;
    let stat = rfs::fstat(&file).ok()?;
    if at::file_type(&stat) != FileType::RegularFile {
        return None;
    }
    let (mut head, mut tail) = ([0; HEAD], [0; TAIL]);
    let n = rustix::io::pread(&file, &mut head, 0).ok()?;
    let (header, ..) = Header::head(head.get(..n)?).ok()?;
    let end = size_of(&stat).saturating_sub(TAIL as u64);
    let n = rustix::io::pread(&file, &mut tail, end).ok()?;
    Header::tail(tail.get(..n)?).map(|_| header)
}

/// Reads a manifest or an intent; None where there is none.
///
/// # Errors
/// Where it is no regular file, too large, or cannot be read.
pub fn load(state: &OwnedFd, place: &Place, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let failed = || place.err::<io::Error>("read", name.as_bytes());
    let file = match rfs::openat(state, name, READ, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.map_err(|e| failed()(e.into()))?,
    };
    let stat = rfs::fstat(&file).map_err(|e| failed()(e.into()))?;
    if at::file_type(&stat) != FileType::RegularFile || size_of(&stat) > MAX_BYTES {
        return Err(failed()(io::Error::other("not a file that a seed wrote")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_of(&stat)).unwrap_or_default() + 1);
    let mut reader = io::Read::take(std::fs::File::from(file), MAX_BYTES);
    io::Read::read_to_end(&mut reader, &mut bytes).map_err(failed())?;
    Ok(Some(bytes))
}
