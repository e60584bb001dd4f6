//! A client of the CRI, as a kubelet is one.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ExecSyncRequest, ImageSpec,
    ImageStatusRequest, LinuxPodSandboxConfig, ListPodSandboxRequest, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxStatusRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopPodSandboxRequest, image_service_client::ImageServiceClient,
    runtime_service_client::RuntimeServiceClient,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{containerd::SOCKET, image};

/// Seconds that a command in a container may take.
const EXEC_LIMIT: i64 = 10;
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// A connection to containerd's CRI. Clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    cgroup: String,
}

/// A pod that runs.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Its name, which its server answers with.
    pub(crate) name: String,
    /// Its IPv4 and IPv6 addresses, in the order of the CNI result.
    pub(crate) addresses: Vec<IpAddr>,
    /// The sandbox's id, by which the plugin knows it.
    pub(crate) sandbox: String,
    container: String,
}

impl Client {
    /// Connects; pods will be in `cgroup`.
    pub(crate) async fn connect(cgroup: &str) -> Result<Self> {
        let connect = tower::service_fn(|_: Uri| async {
            Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(SOCKET).await?))
        });
        // The address is not used, but must be there.
        let endpoint = Endpoint::from_static("http://containerd").timeout(REQUEST_LIMIT);
        let channel =
            endpoint.connect_with_connector(connect).await.context("connect to the CRI")?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            cgroup: cgroup.to_owned(),
        })
    }

    /// Whether the CRI knows the pods' image: it hears of an import some time after.
    pub(crate) async fn has_image(&mut self) -> Result<bool> {
        let request = ImageStatusRequest { image: Some(image()), verbose: false };
        let status = self.images.image_status(request).await.context("ImageStatus")?;
        Ok(status.into_inner().image.is_some())
    }

    /// Makes a pod's sandbox, and with it its network. Gives the sandbox's id.
    pub(crate) async fn run_sandbox(&mut self, name: &str) -> Result<String> {
        self.run(self.sandbox(name)).await
    }

    /// The same for a pod of another namespace, with annotations.
    pub(crate) async fn run_annotated(
        &mut self,
        name: &str,
        namespace: &str,
        annotations: &[(&str, &str)],
    ) -> Result<String> {
        let mut sandbox = self.sandbox(name);
        if let Some(metadata) = &mut sandbox.metadata {
            namespace.clone_into(&mut metadata.namespace);
        }
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        sandbox.annotations = annotations.iter().map(owned).collect();
        self.run(sandbox).await
    }

    async fn run(&mut self, sandbox: PodSandboxConfig) -> Result<String> {
        let name = sandbox.metadata.as_ref().map_or_else(String::new, |pod| pod.name.clone());
        let request =
            RunPodSandboxRequest { config: Some(sandbox), runtime_handler: String::new() };
        let response = self.runtime.run_pod_sandbox(request).await;
        Ok(response.with_context(|| format!("RunPodSandbox {name}"))?.into_inner().pod_sandbox_id)
    }

    /// The ids of all sandboxes that the runtime knows, running or not.
    pub(crate) async fn sandboxes(&mut self) -> Result<Vec<String>> {
        let request = ListPodSandboxRequest { filter: None };
        let listed = self.runtime.list_pod_sandbox(request).await.context("ListPodSandbox")?;
        Ok(listed.into_inner().items.into_iter().map(|sandbox| sandbox.id).collect())
    }

    /// Starts a container in a sandbox that serves the pod's name by HTTP at port 8080.
    pub(crate) async fn start_server(&mut self, name: &str, sandbox: String) -> Result<Pod> {
        let config = container(name);
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(self.sandbox(name)),
        };
        let created = self.runtime.create_container(request).await;
        let container =
            created.with_context(|| format!("CreateContainer {name}"))?.into_inner().container_id;
        let request = StartContainerRequest { container_id: container.clone() };
        let started = self.runtime.start_container(request).await;
        started.with_context(|| format!("StartContainer {name}"))?;
        let addresses = self.addresses(&sandbox).await?;
        Ok(Pod { name: name.to_owned(), addresses, sandbox, container })
    }

    /// The addresses of a sandbox, in the order of the CNI result.
    pub(crate) async fn addresses(&mut self, sandbox: &str) -> Result<Vec<IpAddr>> {
        let request =
            PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: false };
        let response =
            self.runtime.pod_sandbox_status(request).await.context("PodSandboxStatus")?;
        let status = response.into_inner().status.context("no status of a sandbox")?;
        let network = status.network.context("no network in a sandbox's status")?;
        let more = network.additional_ips.into_iter().map(|address| address.ip);
        let texts = std::iter::once(network.ip).chain(more);
        texts.map(|text| text.parse().with_context(|| format!("address {text:?}"))).collect()
    }

    /// Runs a command in a pod's container, and gives what it prints.
    pub(crate) async fn exec(&mut self, pod: &Pod, command: &[&str]) -> Result<String> {
        let request = ExecSyncRequest {
            container_id: pod.container.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: EXEC_LIMIT,
        };
        let response = self.runtime.exec_sync(request).await.context("ExecSync")?.into_inner();
        let said = String::from_utf8_lossy(&response.stderr);
        ensure!(
            response.exit_code == 0,
            "{command:?} in {}: status {}: {}",
            pod.name,
            response.exit_code,
            said.trim()
        );
        Ok(String::from_utf8_lossy(&response.stdout).trim().to_owned())
    }

    /// Stops a pod's containers and takes down its network.
    pub(crate) async fn stop(&mut self, pod: &Pod) -> Result<()> {
        self.stop_sandbox(&pod.sandbox).await.with_context(|| pod.name.clone())
    }

    /// The same for a sandbox.
    pub(crate) async fn stop_sandbox(&mut self, sandbox: &str) -> Result<()> {
        let request = StopPodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
        self.runtime.stop_pod_sandbox(request).await.context("StopPodSandbox").map(drop)
    }

    /// Removes a pod that was stopped, and its containers.
    pub(crate) async fn remove(&mut self, pod: &Pod) -> Result<()> {
        self.remove_sandbox(&pod.sandbox).await.with_context(|| pod.name.clone())
    }

    /// The same for a sandbox.
    pub(crate) async fn remove_sandbox(&mut self, sandbox: &str) -> Result<()> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
        self.runtime.remove_pod_sandbox(request).await.context("RemovePodSandbox").map(drop)
    }

    fn sandbox(&self, name: &str) -> PodSandboxConfig {
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: "/run/pods".to_owned(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup.clone(),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        }
    }
}

fn container(name: &str) -> ContainerConfig {
    let busybox = image::BUSYBOX;
    let script = format!("echo {name} > /www/name && exec {busybox} httpd -f -p 8080 -h /www");
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(image()),
        command: vec![busybox.to_owned(), "sh".to_owned(), "-c".to_owned(), script],
        log_path: format!("{name}.log"),
        ..ContainerConfig::default()
    }
}

fn image() -> ImageSpec {
    ImageSpec { image: image::NAME.to_owned(), annotations: HashMap::new(), ..ImageSpec::default() }
}
