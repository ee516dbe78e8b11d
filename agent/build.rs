//! Generates the gRPC services from `proto/`, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/csi.proto", "proto/registration.proto"];
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    let files = protox::compile(protos, ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
