//! A network: one plugin or a chain of them, run in order as libcni does (CNI spec, section 3).

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::{Call, Outcome};

/// A network's configuration and where its plugins are.
#[derive(Debug, Clone)]
pub struct Network {
    name: String,
    version: String,
    plugins: Vec<Value>,
    path: String,
    environment: Vec<(&'static str, String)>,
}

/// One interface of one container in a network.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; none when the runtime has removed the namespace before DEL.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// Values of capabilities, as `runtimeConfig` has them: each plugin gets what it declares.
    pub capabilities: Map<String, Value>,
}

impl Attachment {
    /// Interface `eth0` of a container, with nothing else asked for.
    #[must_use]
    pub fn new(container_id: &str, netns: &Path) -> Self {
        Self {
            container_id: container_id.to_owned(),
            netns: Some(netns.to_owned()),
            ifname: "eth0".to_owned(),
            args: String::new(),
            capabilities: Map::new(),
        }
    }

    /// Sets `CNI_ARGS`.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        args.clone_into(&mut self.args);
        self
    }

    /// Adds a capability's value.
    #[must_use]
    pub fn capability(mut self, name: &str, value: Value) -> Self {
        self.capabilities.insert(name.to_owned(), value);
        self
    }
}

impl Network {
    /// Takes a network configuration list, or one plugin's configuration with `name`, and the
    /// folders of the plugins as `CNI_PATH` has them.
    pub fn new(configuration: &Value, path: impl Into<String>) -> Result<Self> {
        let text = |key| configuration.get(key).and_then(Value::as_str).map(str::to_owned);
        let plugins = match configuration.get("plugins") {
            Some(list) => list.as_array().context("plugins is not a list")?.clone(),
            None => vec![configuration.clone()],
        };
        Ok(Self {
            name: text("name").context("the configuration has no name")?,
            version: text("cniVersion").context("the configuration has no cniVersion")?,
            plugins,
            path: path.into(),
            environment: Vec::new(),
        })
    }

    /// Sets a variable of all plugins' environment.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The same network with only the plugins whose type `keep` wants.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut shorter = self.clone();
        shorter.plugins.retain(|plugin| plugin["type"].as_str().is_some_and(&keep));
        shorter
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// ADD: every plugin in order, each with its predecessor's result. Gives the last one's result.
    pub fn add(&self, attachment: &Attachment) -> Result<Value> {
        let mut result = None;
        for plugin in &self.plugins {
            result = Some(self.call(plugin, "ADD", attachment, result.as_ref())?.run()?.json()?);
        }
        result.context("the chain has no plugins")
    }

    /// CHECK: every plugin in order, with the result of ADD.
    pub fn check(&self, attachment: &Attachment, result: &Value) -> Result<()> {
        for plugin in &self.plugins {
            self.call(plugin, "CHECK", attachment, Some(result))?.run()?.success()?;
        }
        Ok(())
    }

    /// DEL: every plugin in reverse order, with the result of ADD.
    pub fn del(&self, attachment: &Attachment, result: Option<&Value>) -> Result<()> {
        for plugin in self.plugins.iter().rev() {
            self.call(plugin, "DEL", attachment, result)?.run()?.success()?;
        }
        Ok(())
    }

    /// One call of the chain's only plugin, whatever comes of it.
    pub fn call_single(
        &self,
        verb: &str,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Result<Outcome> {
        self.single(verb, attachment, result)?.run()
    }

    /// That call, to be made by the caller.
    pub fn single(
        &self,
        verb: &str,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Result<Call> {
        let [plugin] = self.plugins.as_slice() else {
            bail!("{} has {} plugins", self.name, self.plugins.len());
        };
        self.call(plugin, verb, attachment, result)
    }

    /// The network with a list of what the runtime knows, for GC: container ids, each of `eth0`.
    #[must_use]
    pub fn with_valid<'a>(&self, containers: impl IntoIterator<Item = &'a str>) -> Self {
        let valid = |id: &str| json!({ "containerID": id, "ifname": "eth0" });
        let valid: Vec<Value> = containers.into_iter().map(valid).collect();
        let mut with = self.clone();
        for plugin in &mut with.plugins {
            plugin["cni.dev/valid-attachments"] = json!(valid);
        }
        with
    }

    /// The call of one plugin of the chain.
    fn call(
        &self,
        plugin: &Value,
        verb: &str,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Result<Call> {
        let executable = self.find(plugin)?;
        let call = Call::new(executable, verb, &self.configuration(plugin, attachment, result))
            .container_id(&attachment.container_id)
            .ifname(&attachment.ifname)
            .args(&attachment.args)
            .path(&self.path);
        let add = |call: Call, (name, value): &(&'static str, String)| call.variable(name, value);
        let call = self.environment.iter().fold(call, add);
        Ok(match &attachment.netns {
            Some(netns) => call.netns(netns),
            None => call.netns(Path::new("")),
        })
    }

    /// A plugin's configuration with what the runtime adds (CNI spec, section 3, "Deriving
    /// execution configuration").
    fn configuration(
        &self,
        plugin: &Value,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Value {
        let mut configuration = plugin.clone();
        configuration["name"] = json!(self.name);
        configuration["cniVersion"] = json!(self.version);
        if let Some(result) = result {
            configuration["prevResult"] = result.clone();
        }
        let declared = |name: &str| plugin["capabilities"][name] == json!(true);
        let asked: Map<String, Value> = attachment
            .capabilities
            .iter()
            .filter(|(name, _)| declared(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if let Some(configuration) = configuration.as_object_mut() {
            configuration.remove("capabilities");
            if !asked.is_empty() {
                configuration.insert("runtimeConfig".to_owned(), asked.into());
            }
        }
        configuration
    }

    fn find(&self, plugin: &Value) -> Result<PathBuf> {
        let kind = plugin["type"].as_str().context("a plugin has no type")?;
        env::split_paths(&self.path)
            .map(|folder| folder.join(kind))
            .find(|path| path.is_file())
            .with_context(|| format!("no plugin {kind} in {}", self.path))
    }
}
