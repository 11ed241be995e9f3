//! What `docker image inspect` says of an image, key for key.

use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::error::{Result, refused};
use crate::reference::Reference;
use crate::store::{LayerRecord, Store, resolve};

impl Store {
    /// The image `name` as the object that `docker image inspect` prints (in a list).
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let catalog = self.catalog()?;
        let id = resolve(&catalog, name)?;
        let image = self.by_id(&id)?;
        let own: Value = serde_json::from_slice(&image.config_json)
            .map_err(|error| refused("read the image's config", error.to_string()))?;
        let text = |key: &str| own.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let names = |wanted: fn(&Reference) -> bool| -> Vec<String> {
            image.references.iter().filter(|name| wanted(name)).map(Reference::familiar).collect()
        };
        let mut object = json!({
            "Id": id,
            "RepoTags": names(|name| name.tag().is_some()),
            "RepoDigests": names(|name| name.digest().is_some()),
            "Parent": "",
            "Comment": last_comment(&own),
            "Created": text("created"),
            "Container": text("container"),
            "ContainerConfig": with_defaults(own.get("container_config")),
            "DockerVersion": text("docker_version"),
            "Author": text("author"),
            "Config": with_defaults(own.get("config")),
            "Architecture": text("architecture"),
            "Os": text("os"),
            "Size": image.size,
            "VirtualSize": image.size,
            "GraphDriver": self.graph_driver(&image.chain)?,
            "RootFS": { "Type": "layers", "Layers": own.pointer("/rootfs/diff_ids") },
            "Metadata": { "LastTagTime": catalog.images.get(&id).and_then(|record| record.tagged.clone()) },
        });
        if !text("variant").is_empty() {
            object["Variant"] = json!(text("variant"));
        }
        Ok(object)
    }

    fn graph_driver(&self, chain: &[Digest]) -> Result<Value> {
        let mut trees = Vec::new();
        for chain in chain.iter().rev() {
            trees.extend(self.layer(chain)?.map(|(dir, _)| LayerRecord::tree(&dir).display().to_string()));
        }
        let mut data = Map::new();
        if let Some((top, lower)) = trees.split_first() {
            data.insert("UpperDir".into(), json!(top));
            if !lower.is_empty() {
                data.insert("LowerDir".into(), json!(lower.join(":")));
            }
        }
        Ok(json!({ "Name": "overlay2", "Data": data }))
    }
}

/// Docker shows the comment of the last step.
fn last_comment(config: &Value) -> String {
    let history = config.get("history").and_then(Value::as_array);
    let last = history.and_then(|history| history.last()?.get("comment")?.as_str());
    last.or_else(|| config.get("comment")?.as_str()).unwrap_or_default().to_owned()
}

/// With the keys that Docker 20.10 always shows, though an image does not set them.
fn with_defaults(config: Option<&Value>) -> Value {
    let mut object = json!({
        "Hostname": "", "Domainname": "", "User": "",
        "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
        "Tty": false, "OpenStdin": false, "StdinOnce": false,
        "Env": null, "Cmd": null, "Image": "", "Volumes": null, "WorkingDir": "",
        "Entrypoint": null, "OnBuild": null, "Labels": null,
    });
    for (key, value) in config.and_then(Value::as_object).into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}
