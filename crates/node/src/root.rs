//! A pod's root folder: its making, and its order file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use baton_protocol::Order;
use baton_protocol::layout::{self, EVENTS, ORDER, RESULTS, STEPS};
use baton_protocol::order::MAX_ORDER_BYTES;
use baton_steps::Plan;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;

use crate::notice::NodeError;
use crate::untrusted::{self, ReadError};

/// The journal of a pod: what its run asked to remember. In the root, beside the order.
pub const FACTS: &str = "facts";
/// The order in the making.
const NEXT: &str = ".order";

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
    let order = root.join(ORDER);
    if !fs::exists(&order).map_err(|e| NodeError::io("look for", &order, e))? {
        Root::open(root)?
            .write(Order::HOLD)
            .map_err(|e| NodeError::io("write", order, e))?;
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
    /// What the file that lies ready beside the order file says.
    staged: Option<Order>,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Root, NodeError> {
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path)
            .map_err(|e| NodeError::io("open the folder", path, e))?;
        Ok(Root {
            path: path.to_owned(),
            dir,
            staged: None,
        })
    }

    /// The order as its file has it.
    pub(crate) fn order(&self) -> Result<Order, NodeError> {
        let path = self.path.join(ORDER);
        match untrusted::read(&self.dir, ORDER, MAX_ORDER_BYTES as u64) {
            Ok(content) => Order::parse(&content).ok_or(NodeError::Order { path }),
            Err(ReadError::Trouble(e)) => Err(NodeError::io("read", path, e)),
            Err(e) => Err(NodeError::io("read", path, io::Error::other(e.to_string()))),
        }
    }

    /// Replaces the order file.
    pub(crate) fn write(&mut self, order: Order) -> io::Result<()> {
        if self.staged != Some(order) {
            self.stage(order)?;
        }
        self.staged = None;
        Ok(renameat(&self.dir, NEXT, &self.dir, ORDER)?)
    }

    /// Lays a file ready for the next [`write`](Root::write), which then is a rename and no more.
    pub(crate) fn stage(&mut self, order: Order) -> io::Result<()> {
        self.staged = None;
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let mut file = File::from(openat(&self.dir, NEXT, flags, mode)?);
        file.write_all(order.to_string().as_bytes())?;
        self.staged = Some(order);
        Ok(())
    }
}
