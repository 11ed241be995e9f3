//! File systems to mount, as `-v`, `--mount` and `--tmpfs` say them (moby `volume/mounts/linux_parser.go`).

use std::path::{Component, Path, PathBuf};

use super::{Parsed, boolean, bytes};
use serde::{Deserialize, Serialize};

/// A file system to mount in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountFlag {
    /// A directory or file of the host.
    Bind(Bind),
    /// An empty file system in memory.
    Tmpfs(Tmpfs),
}

/// A directory or file of the host, seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// The path on the host; absolute or, as typed, from the current directory.
    pub(crate) source: PathBuf,
    /// The path in the container.
    pub(crate) target: PathBuf,
    /// Whether it may only be read.
    pub(crate) read_only: bool,
    /// Whether mounts below the source are shown too.
    pub(crate) recursive: bool,
    /// Who sees mounts that are made later.
    pub(crate) propagation: Propagation,
    /// Whether the source takes an SELinux label that the container may use (`z`, `Z`).
    pub(crate) relabel: bool,
    /// Whether a source that is not there becomes a directory (`-v`), or an error (`--mount`).
    pub(crate) make_source: bool,
    /// The modes of `-v` as they were typed, which `inspect` repeats.
    pub(crate) modes: String,
}

/// mount_namespaces(7), "Shared subtrees"; an `R` stands for the whole tree below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Propagation {
    Private,
    #[default]
    RPrivate,
    Slave,
    RSlave,
    Shared,
    RShared,
}

/// An empty file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tmpfs {
    /// The path in the container.
    pub(crate) target: PathBuf,
    /// Options of tmpfs(5) and mount(8), as typed.
    pub(crate) options: Vec<String>,
}

impl Propagation {
    /// The option's name in an OCI mount.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
            Self::Shared => "shared",
            Self::RShared => "rshared",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Private, Self::RPrivate, Self::Slave, Self::RSlave, Self::Shared, Self::RShared]
            .into_iter()
            .find(|mode| mode.name() == text)
    }
}

impl MountFlag {
    /// The path in the container.
    pub(crate) fn target(&self) -> &Path {
        match self {
            Self::Bind(bind) => &bind.target,
            Self::Tmpfs(tmpfs) => &tmpfs.target,
        }
    }
}

/// `-v SOURCE:TARGET[:MODE]`.
pub(crate) fn volume(text: &str) -> Parsed<MountFlag> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, modes) = match parts.as_slice() {
        [_] => return Err("anonymous volumes are not supported".into()),
        [source, target] => (*source, *target, ""),
        [source, target, modes] => (*source, *target, *modes),
        _ => return Err("not of the form SOURCE:TARGET[:MODE]".into()),
    };
    if source.is_empty() {
        return Err("the source is missing".into());
    }
    if !source.starts_with('/') && !source.starts_with('.') {
        return Err("named volumes are not supported".into());
    }
    let mut bind = Bind {
        source: source.into(),
        target: container_path(target)?,
        read_only: false,
        recursive: true,
        propagation: Propagation::default(),
        relabel: false,
        make_source: true,
        modes: modes.to_owned(),
    };
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" => bind.read_only = true,
            "z" | "Z" => bind.relabel = true,
            // The last three are for Docker Desktop's file sharing; dockerd on Linux takes them without effect, too.
            "rw" | "consistent" | "cached" | "delegated" => {}
            _ => bind.propagation = Propagation::parse(mode).ok_or_else(|| format!("there is no mode {mode}"))?,
        }
    }
    Ok(MountFlag::Bind(bind))
}

/// `--tmpfs TARGET[:OPTIONS]`.
pub(crate) fn tmpfs(text: &str) -> Parsed<MountFlag> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let options: Vec<String> = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
    Ok(MountFlag::Tmpfs(Tmpfs { target: container_path(target)?, options }))
}

/// `--mount type=bind,source=/srv,target=/data,readonly`.
pub(crate) fn mount(text: &str) -> Parsed<MountFlag> {
    let mut fields = Fields::default();
    for field in csv(text)? {
        fields.take(&field)?;
    }
    fields.finish()
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    not_recursive: bool,
    propagation: Option<Propagation>,
    tmpfs_size: Option<i64>,
    tmpfs_mode: Option<u32>,
}

impl Fields {
    fn take(&mut self, field: &str) -> Parsed<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let needed =
            || value.filter(|v| !v.is_empty()).map(str::to_owned).ok_or_else(|| format!("{key} needs a value"));
        let flag = || value.map_or(Ok(true), boolean).map_err(|why| format!("{key}: {why}"));
        match key.as_str() {
            "type" => self.kind = Some(needed()?),
            "source" | "src" => self.source = Some(needed()?),
            "target" | "dst" | "destination" => self.target = Some(needed()?),
            "readonly" | "ro" => self.read_only = flag()?,
            "bind-nonrecursive" => self.not_recursive = flag()?,
            "bind-recursive" => self.not_recursive = self.recursion(&needed()?)?,
            "bind-propagation" => {
                let name = needed()?;
                self.propagation =
                    Some(Propagation::parse(&name).ok_or_else(|| format!("there is no propagation {name}"))?);
            }
            "tmpfs-size" => self.tmpfs_size = Some(bytes(&needed()?).map_err(|why| format!("tmpfs-size: {why}"))?),
            "tmpfs-mode" => {
                let mode = needed()?;
                self.tmpfs_mode = Some(
                    u32::from_str_radix(&mode, 8).map_err(|_| format!("tmpfs-mode: {mode} is not an octal number"))?,
                );
            }
            "consistency" => drop(needed()?),
            key if key.starts_with("volume-") => return Err("volumes are not supported".into()),
            key if key.starts_with("image-") => return Err("images as mounts are not supported".into()),
            _ => return Err(format!("there is no field {key}")),
        }
        Ok(())
    }

    /// `bind-recursive`: `enabled`, `disabled`; the read-only ones of Docker 25 depend on mount_setattr(2).
    fn recursion(&self, value: &str) -> Parsed<bool> {
        match value {
            "enabled" => Ok(false),
            "disabled" => Ok(true),
            "writable" | "readonly" => Err(format!("bind-recursive={value} is not supported")),
            _ => Err("bind-recursive is enabled or disabled".into()),
        }
    }

    fn finish(self) -> Parsed<MountFlag> {
        let target = container_path(self.target.as_deref().ok_or("target is missing")?)?;
        match self.kind.as_deref() {
            Some("bind") => {
                if self.tmpfs_size.is_some() || self.tmpfs_mode.is_some() {
                    return Err("a bind mount has no tmpfs fields".into());
                }
                let source = self.source.ok_or("source is missing")?;
                if !source.starts_with('/') && !source.starts_with('.') {
                    return Err("the source is not an absolute path".into());
                }
                Ok(MountFlag::Bind(Bind {
                    source: source.into(),
                    target,
                    read_only: self.read_only,
                    recursive: !self.not_recursive,
                    propagation: self.propagation.unwrap_or_default(),
                    relabel: false,
                    make_source: false,
                    modes: String::new(),
                }))
            }
            Some("tmpfs") => {
                if self.source.is_some() || self.propagation.is_some() || self.not_recursive {
                    return Err("a tmpfs has neither a source nor bind fields".into());
                }
                let mut options = Vec::new();
                options.extend(self.read_only.then(|| "ro".to_owned()));
                options.extend(self.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
                options.extend(self.tmpfs_size.map(|size| format!("size={size}")));
                Ok(MountFlag::Tmpfs(Tmpfs { target, options }))
            }
            None | Some("volume") => Err("volumes are not supported: say type=bind or type=tmpfs".into()),
            Some(other) => Err(format!("type {other} is not supported: say type=bind or type=tmpfs")),
        }
    }
}

/// A path that a mount can go to: absolute, tidy, and not the root itself.
fn container_path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() {
        return Err("the target is missing".into());
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("the target is not an absolute path".into());
    }
    let mut tidy = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => tidy.push(name),
            Component::ParentDir => {
                tidy.pop();
            }
            _ => {}
        }
    }
    if tidy == Path::new("/") { Err("the target is the root directory itself".into()) } else { Ok(tidy) }
}

/// Fields between commas; a field in double quotes may hold commas, `""` is one quote (RFC 4180, as Go's encoding/csv).
fn csv(text: &str) -> Parsed<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is always a field being filled");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            '"' => return Err("a quote stands inside a field".into()),
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(flag: MountFlag) -> Bind {
        match flag {
            MountFlag::Bind(bind) => bind,
            MountFlag::Tmpfs(_) => panic!("a bind mount was wanted"),
        }
    }

    #[test]
    fn a_volume_flag_is_source_target_and_modes() {
        let got = bind(volume("/srv:/data:ro,rshared").unwrap());
        assert_eq!((got.source.to_str(), got.target.to_str()), (Some("/srv"), Some("/data")));
        assert!(got.read_only && got.recursive && got.make_source);
        assert_eq!(got.propagation, Propagation::RShared);
        assert_eq!(bind(volume("/a:/b/../c/./d/").unwrap()).target, Path::new("/c/d"));
        assert_eq!(bind(volume("./a:/b").unwrap()).source, Path::new("./a"));
        assert_eq!(bind(volume("/a:/b:z").unwrap()).propagation, Propagation::RPrivate);
    }

    #[test]
    fn what_is_no_bind_mount_is_refused_with_its_reason() {
        for (text, why) in [
            ("/data", "anonymous volumes are not supported"),
            ("data:/x", "named volumes are not supported"),
            ("/a:b", "the target is not an absolute path"),
            ("/a:/", "the target is the root directory itself"),
            ("/a:/b/..", "the target is the root directory itself"),
            ("/a:", "the target is missing"),
            (":/a", "the source is missing"),
            ("/a:/b:rx", "there is no mode rx"),
            ("/a:/b:ro:rw", "not of the form SOURCE:TARGET[:MODE]"),
        ] {
            assert_eq!(volume(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_mount_flag_has_named_fields() {
        let got = bind(mount("type=bind,src=/srv,dst=/data,ro,bind-propagation=slave,bind-nonrecursive").unwrap());
        assert!(got.read_only && !got.recursive && !got.make_source);
        assert_eq!(got.propagation, Propagation::Slave);
        assert!(!bind(mount("type=bind,src=/srv,dst=/data,readonly=false").unwrap()).read_only);
        assert_eq!(bind(mount("type=bind,\"src=/a,b\",dst=/c").unwrap()).source, Path::new("/a,b"));
        let MountFlag::Tmpfs(got) = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770,readonly").unwrap()
        else {
            panic!("a tmpfs was wanted")
        };
        assert_eq!(got.options, ["ro", "mode=1770", "size=1048576"]);
    }

    #[test]
    fn a_wrong_mount_flag_says_which_field() {
        for (text, why) in [
            ("target=/x", "volumes are not supported: say type=bind or type=tmpfs"),
            ("type=volume,src=v,dst=/x", "volumes are not supported: say type=bind or type=tmpfs"),
            ("type=npipe,src=v,dst=/x", "type npipe is not supported: say type=bind or type=tmpfs"),
            ("type=bind,src=/a", "target is missing"),
            ("type=bind,dst=/a", "source is missing"),
            ("type=bind,src=a,dst=/a", "the source is not an absolute path"),
            ("type=bind,src,dst=/a", "src needs a value"),
            ("type=bind,src=/a,dst=/a,size=1", "there is no field size"),
            ("type=bind,src=/a,dst=/a,ro=maybe", "ro: not true or false"),
            ("type=bind,src=/a,dst=/a,tmpfs-size=1", "a bind mount has no tmpfs fields"),
            ("type=tmpfs,src=/a,dst=/a", "a tmpfs has neither a source nor bind fields"),
            ("type=tmpfs,dst=/a,tmpfs-mode=9", "tmpfs-mode: 9 is not an octal number"),
            ("type=bind,\"src=/a", "a quote is not closed"),
        ] {
            assert_eq!(mount(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn tmpfs_takes_options_behind_a_colon() {
        let MountFlag::Tmpfs(got) = tmpfs("/run:size=64m,exec").unwrap() else { panic!("a tmpfs was wanted") };
        assert_eq!(
            (got.target.to_str(), got.options.as_slice()),
            (Some("/run"), &["size=64m".to_owned(), "exec".to_owned()][..])
        );
        assert!(tmpfs("run").is_err());
    }
}
