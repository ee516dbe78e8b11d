//! The CSI services: requests in, answers out. What they do is [`crate::volume`]'s.

use std::collections::HashMap;

use tonic::{Code, Request, Response, Status};

use super::proto::csi;
use crate::volume::{self, DRIVER, VolumeError, Volumes};

type Answer<T> = Result<Response<T>, Status>;

pub(super) struct Identity;

#[tonic::async_trait]
impl csi::identity_server::Identity for Identity {
    async fn get_plugin_info(
        &self,
        _: Request<csi::GetPluginInfoRequest>,
    ) -> Answer<csi::GetPluginInfoResponse> {
        Ok(Response::new(csi::GetPluginInfoResponse {
            name: DRIVER.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: HashMap::new(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<csi::GetPluginCapabilitiesRequest>,
    ) -> Answer<csi::GetPluginCapabilitiesResponse> {
        Ok(Response::new(csi::GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<csi::ProbeRequest>) -> Answer<csi::ProbeResponse> {
        // It listens only once it is ready.
        Ok(Response::new(csi::ProbeResponse { ready: Some(true) }))
    }
}

pub(super) struct Node {
    name: String,
    volumes: Volumes,
}

impl Node {
    pub(super) fn new(name: String, volumes: Volumes) -> Node {
        Node { name, volumes }
    }
}

#[tonic::async_trait]
impl csi::node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        request: Request<csi::NodePublishVolumeRequest>,
    ) -> Answer<csi::NodePublishVolumeResponse> {
        use csi::volume_capability::AccessType;
        let request = request.into_inner();
        let access = request.volume_capability.and_then(|c| c.access_type);
        let request = volume::Request {
            volume_id: request.volume_id,
            target_path: request.target_path,
            is_mount: matches!(access, Some(AccessType::Mount(_))),
            read_only: request.readonly,
            has_secrets: !request.secrets.is_empty(),
            attributes: request.volume_context,
        };
        let target = request.target_path.clone();
        match self.volumes.publish(request).await {
            Ok(()) => Ok(Response::new(csi::NodePublishVolumeResponse {})),
            Err(e) => Err(status("publish", &target, &e)),
        }
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Answer<csi::NodeUnpublishVolumeResponse> {
        let csi::NodeUnpublishVolumeRequest {
            volume_id,
            target_path,
        } = request.into_inner();
        match self.volumes.unpublish(&volume_id, &target_path).await {
            Ok(()) => Ok(Response::new(csi::NodeUnpublishVolumeResponse {})),
            Err(e) => Err(status("unpublish", &target_path, &e)),
        }
    }

    async fn node_get_capabilities(
        &self,
        _: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Answer<csi::NodeGetCapabilitiesResponse> {
        Ok(Response::new(csi::NodeGetCapabilitiesResponse::default()))
    }

    async fn node_get_info(
        &self,
        _: Request<csi::NodeGetInfoRequest>,
    ) -> Answer<csi::NodeGetInfoResponse> {
        Ok(Response::new(csi::NodeGetInfoResponse {
            node_id: self.name.clone(),
            max_volumes_per_node: 0,
        }))
    }
}

/// The kubelet shows the message in an event of the pod, and tries again later.
fn status(action: &str, target: &str, e: &VolumeError) -> Status {
    let code = match e {
        VolumeError::Refused(_) => Code::InvalidArgument,
        VolumeError::Io { .. } | VolumeError::Node(_) => Code::Internal,
        VolumeError::NotNow(_) => Code::Unavailable,
    };
    let target: String = target.chars().take(256).collect();
    tracing::warn!(target_path = target, "cannot {action} a volume: {e}");
    Status::new(code, e.to_string())
}
