//! The kubelet's side of the agent: a CSI node plugin, and its registration.
//!
//! The kubelet finds the plugin by a socket in its `plugins_registry` folder, asks there for the
//! plugin's own socket, and calls that for each pod with a baton volume.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::volume::{DRIVER, VolumeError, Volumes};

mod node;
mod registration;
mod socket;

/// The services and messages, generated from `proto/`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod proto {
    /// The Container Storage Interface.
    pub mod csi {
        tonic::include_proto!("csi.v1");
    }
    /// The kubelet's plugin registration.
    pub mod registration {
        tonic::include_proto!("pluginregistration");
    }
}

use socket::Served;

/// Time that calls which run have to end when the plugin is stopped.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// What the plugin needs to know beside its volumes.
#[derive(Debug, Clone)]
pub struct Options {
    /// The kubelet's root folder, by the path that the kubelet itself uses for it.
    pub kubelet_dir: PathBuf,
    /// The node's name in the cluster.
    pub node_name: String,
}

/// The plugin, serving.
#[derive(Debug)]
pub struct Plugin {
    csi: Served,
    registration: registration::Registered,
}

impl Plugin {
    /// Goes on with the pods that are here, then serves the plugin's socket, and then lets the kubelet
    /// find it: in this order, so that the kubelet is never told of a plugin that does not know its
    /// pods.
    ///
    /// # Errors
    /// Where the records cannot be read or a socket cannot be made.
    pub async fn start(options: Options, volumes: Volumes) -> Result<Plugin, VolumeError> {
        volumes.resume().await?;
        let folder = options.kubelet_dir.join("plugins").join(DRIVER);
        let endpoint = folder.join("csi.sock");
        let csi = Served::start(endpoint.clone(), |served| {
            let identity = node::Identity;
            let node = node::Node::new(options.node_name, volumes);
            let server = tonic::transport::Server::builder()
                .add_service(proto::csi::identity_server::IdentityServer::new(identity))
                .add_service(proto::csi::node_server::NodeServer::new(node));
            served.run(server)
        })?;
        let registry = options.kubelet_dir.join("plugins_registry");
        let registration = registration::Registered::start(registry, endpoint)?;
        Ok(Plugin { csi, registration })
    }

    /// Whether the kubelet has taken the plugin.
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registration.taken()
    }

    /// Whether both sockets are served.
    pub fn is_alive(&self) -> bool {
        self.csi.is_alive() && self.registration.is_alive()
    }

    /// Takes the plugin from the kubelet's sight, lets calls that run end, and leaves the pods' folders
    /// as they are.
    pub async fn stop(self) {
        self.registration.stop(LAST_CALLS).await;
        self.csi.stop(LAST_CALLS).await;
    }
}
