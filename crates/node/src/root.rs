//! A pod's root folder: its making, and its order files.
//!
//! `order` is the record. Each step watches a file of its own, `turns/<i>/order`, which has the same
//! content whenever that concerns the step: so a hand-off wakes the one step whose turn it is, and not
//! every step that waits, which with hundreds of steps would be most of the work.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use baton_protocol::Order;
use baton_protocol::layout::{self, EVENTS, ORDER, RESULTS, STEPS, TURNS};
use baton_protocol::order::MAX_ORDER_BYTES;
use baton_steps::Plan;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::notice::NodeError;
use crate::untrusted::{self, ReadError};

/// The journal of a pod: what its run asked to remember. In the root, beside the order.
pub const FACTS: &str = "facts";
/// The order in the making.
const NEXT: &str = ".order";
/// A step's own order in the making.
const NEXT_TURN: &str = ".turn";

/// Room that is set aside where others write in the same file system, so that orders are written even
/// if these fill it: so many files ...
const RESERVES: u32 = 8;
/// ... of so many bytes.
const RESERVE_BYTES: usize = 32 << 10;

/// Who may write in the folders of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// This process's user alone: the steps run as the same one.
    Owner,
    /// Everyone who sees them: the containers' users are not known, and each sees its own folder only.
    Everyone,
}

/// Makes a pod's folder ready for [`Node::open`](crate::Node::open): the folders of its steps, their
/// event files, empty, and the order 0. What is there already stays as it is.
///
/// # Errors
/// Where the plan is past its bounds, or a folder or file cannot be made.
pub fn prepare(root: &Path, plan: &Plan, access: Access) -> Result<(), NodeError> {
    plan.check().map_err(|source| NodeError::Plan {
        root: root.to_owned(),
        source,
    })?;
    let steps = root.join(STEPS);
    make_dir(root, 0o755)?;
    make_dir(&steps, 0o755)?;
    make_dir(&root.join(TURNS), 0o755)?;
    let mode = match access {
        Access::Owner => 0o755,
        Access::Everyone => 0o777,
    };
    for number in 1..=plan.total() {
        let step = layout::step_dir(root, number);
        make_dir(&step, mode)?;
        make_dir(&step.join(RESULTS), mode)?;
        // It is there from the beginning, so that nobody has to be woken by its making.
        make_file(&step.join(EVENTS), mode & 0o666)?;
    }
    if access == Access::Everyone {
        for reserve in (1..=RESERVES).map(|i| root.join(reserve(i))) {
            let open = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&reserve);
            match open.and_then(|mut file| file.write_all(&[0; RESERVE_BYTES])) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(NodeError::io("set room aside in", reserve, e));
                }
                _ => {}
            }
        }
    }
    let mut root = Root::open(root, plan)?;
    for file in root.everyones().chain([ORDER.to_owned()]) {
        let path = root.path.join(&file);
        if !fs::exists(&path).map_err(|e| NodeError::io("look for", &path, e))? {
            if let Some(folder) = path.parent() {
                make_dir(folder, 0o755)?;
            }
            root.make(NEXT, Order::HOLD)
                .and_then(|()| root.place(NEXT, &file))
                .map_err(|e| NodeError::io("write", path, e))?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<(), NodeError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // The umask may have taken some of the mode away.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|e| NodeError::io("set the mode of", path, e)),
        Err(e) => Err(NodeError::io("make the folder", path, e)),
    }
}

fn make_file(path: &Path, mode: u32) -> Result<(), NodeError> {
    let mut open = OpenOptions::new();
    open.write(true).create_new(true).mode(mode);
    match open.open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Ok(file) => file
            .set_permissions(Permissions::from_mode(mode))
            .map_err(|e| NodeError::io("set the mode of", path, e)),
        Err(e) => Err(NodeError::io("make the file", path, e)),
    }
}

/// The root folder, open.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) dir: File,
    /// The number of the last step that has a turn.
    last: u32,
    /// The number of the last step or sidecar.
    total: u32,
    /// What the order file says.
    shown: Option<Order>,
    /// What the files that lie ready say.
    staged: Option<Order>,
    /// Steps whose own files lag behind: their turn is over, so there is no hurry.
    lagging: Vec<u32>,
    /// The file system was full, and room that had been set aside was used.
    was_full: bool,
}

impl Root {
    pub(crate) fn open(path: &Path, plan: &Plan) -> Result<Root, NodeError> {
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path)
            .map_err(|e| NodeError::io("open the folder", path, e))?;
        Ok(Root {
            path: path.to_owned(),
            dir,
            last: plan.last(),
            total: plan.total(),
            shown: None,
            staged: None,
            lagging: Vec::new(),
            was_full: false,
        })
    }

    /// The order as its file has it. The steps' own files, some of which an earlier life may have left
    /// behind, are brought up to it.
    pub(crate) fn order(&mut self) -> Result<Order, NodeError> {
        let path = self.path.join(ORDER);
        let order = match untrusted::read(&self.dir, ORDER, MAX_ORDER_BYTES as u64) {
            Ok(content) => Order::parse(&content).ok_or(NodeError::Order { path: path.clone() })?,
            Err(ReadError::Trouble(e)) => return Err(NodeError::io("read", path, e)),
            Err(e) => {
                let e = io::Error::other(e.to_string());
                return Err(NodeError::io("read", path, e));
            }
        };
        if order != Order::HOLD {
            self.show_everyone(order)
                .map_err(|e| NodeError::io("follow", path, e))?;
        }
        self.shown = Some(order);
        Ok(order)
    }

    /// Replaces the order file, and then the files of the steps that it concerns.
    pub(crate) fn write(&mut self, order: Order) -> io::Result<()> {
        if self.staged != Some(order) {
            self.stage(order)?;
        }
        self.staged = None;
        self.place(NEXT, ORDER)?;
        match (self.shown, order) {
            (Some(Order::Turn(before)), Order::Turn(now))
                if now == before + 1 && now <= self.last =>
            {
                self.place(NEXT_TURN, &turn_of(now))?;
                self.lagging.extend((before > 0).then_some(before));
            }
            _ => self.show_everyone(order)?,
        }
        self.shown = Some(order);
        Ok(())
    }

    /// Lays the files ready for the next [`write`](Root::write), which then is two renames and no
    /// more; and tells the steps whose turn is over, which matters if they are started again.
    pub(crate) fn stage(&mut self, order: Order) -> io::Result<()> {
        if self.staged == Some(order) && self.lagging.is_empty() {
            return Ok(());
        }
        self.staged = None;
        while let Some((number, shown)) = self.lagging.pop().zip(self.shown) {
            self.show(number, shown)?;
        }
        self.make(NEXT, order)?;
        self.make(NEXT_TURN, order)?;
        self.staged = Some(order);
        Ok(())
    }

    /// The order files of all steps and sidecars.
    fn everyones(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.total).map(turn_of)
    }

    fn show_everyone(&mut self, order: Order) -> io::Result<()> {
        self.lagging.clear();
        (1..=self.total).try_for_each(|number| self.show(number, order))
    }

    fn show(&mut self, number: u32, order: Order) -> io::Result<()> {
        self.make(NEXT_TURN, order)?;
        self.place(NEXT_TURN, &turn_of(number))
    }

    fn make(&mut self, name: &str, order: Order) -> io::Result<()> {
        self.in_reserve(|root| root.try_make(name, order))
    }

    /// Does what needs room; in that which was set aside, where there is no other.
    pub(crate) fn in_reserve<T>(
        &mut self,
        mut work: impl FnMut(&mut Root) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut done = work(self);
        // Piece by piece: whoever filled the rest may take from what is let go.
        for i in 1..=RESERVES {
            match &done {
                Err(e) if e.kind() == io::ErrorKind::StorageFull => {}
                _ => break,
            }
            self.was_full = true;
            if unlinkat(&self.dir, reserve(i).as_str(), UnlinkatFlags::NoRemoveDir).is_ok() {
                done = work(self);
            }
        }
        done
    }

    /// Whether the file system was full, since this was last asked.
    pub(crate) fn take_was_full(&mut self) -> bool {
        std::mem::take(&mut self.was_full)
    }

    fn try_make(&self, name: &str, order: Order) -> io::Result<()> {
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_NOFOLLOW
            // A pod may have made a FIFO of this name, if it was given the whole volume: no wait for readers.
            | OFlag::O_NONBLOCK
            | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let mut file = File::from(openat(&self.dir, name, flags, mode)?);
        file.write_all(order.to_string().as_bytes())
    }

    fn place(&self, made: &str, name: &str) -> io::Result<()> {
        Ok(renameat(&self.dir, made, &self.dir, name)?)
    }
}

fn reserve(i: u32) -> String {
    format!(".reserve-{i}")
}

/// The order file of one step, below the root.
fn turn_of(number: u32) -> String {
    format!("{TURNS}/{number}/{ORDER}")
}
