//! What the operator and others write, as the API server's audit log has it.
use crate::{
    process::cluster,
    world::{OPERATOR_NAMESPACE, ms_of},
};
use serde_json::Value;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

/// The API server's audit log, from here on.
pub struct Audit {
    file: File,
    rest: String,
}

/// A write.
#[derive(Debug)]
pub struct Write(Value);

impl Audit {
    /// Begins to read behind what is there.
    pub async fn from_now() -> Self {
        let path = cluster(&["audit"]).await;
        let mut file = File::open(path.trim()).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Self { file, rest: String::new() }
    }

    /// The writes of the operator's account since the last look.
    pub fn writes(&mut self) -> Vec<Write> {
        let account = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
        let mut writes = self.everyones();
        writes.retain(|write| write.0["user"]["username"].as_str().is_some_and(|user| user.starts_with(&account)));
        writes
    }

    /// All writes since the last look.
    pub fn everyones(&mut self) -> Vec<Write> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).unwrap();
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return Vec::new() };
        let lines: String = self.rest.drain(..=end).collect();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).map(Write).collect()
    }
}

impl Write {
    /// Whether it is of the Lease.
    pub fn is_lease(&self) -> bool {
        self.resource() == "leases"
    }

    /// Whether nothing was stored.
    pub fn is_dry_run(&self) -> bool {
        self.0["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All"))
    }

    /// Whether the API server took it.
    pub fn is_taken(&self) -> bool {
        self.0["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300)
    }

    /// Whether it deletes.
    pub fn is_deletion(&self) -> bool {
        self.0["verb"].as_str().is_some_and(|verb| verb.starts_with("delete"))
    }

    /// The namespace of what was written.
    pub fn namespace(&self) -> &str {
        self.0["objectRef"]["namespace"].as_str().unwrap_or_default()
    }

    /// The kind of what was written, as the API's paths have it.
    pub fn resource(&self) -> &str {
        self.0["objectRef"]["resource"].as_str().unwrap_or_default()
    }

    /// What was written.
    pub fn object(&self) -> String {
        let object = &self.0["objectRef"];
        let part = |field: &str| object[field].as_str().unwrap_or_default();
        format!("{} {} {}", part("resource"), part("name"), part("subresource")).trim_end().to_owned()
    }

    /// The pod that wrote it.
    pub fn pod(&self) -> &str {
        self.0["user"]["extra"]["authentication.kubernetes.io/pod-name"][0].as_str().unwrap_or_default()
    }

    /// When it came to the API server, in Unix milliseconds.
    pub fn at(&self) -> f64 {
        ms_of(self.0["requestReceivedTimestamp"].as_str().unwrap())
    }
}
