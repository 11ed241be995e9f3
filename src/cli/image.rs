//! The verbs about images, in their short form (`rbox pull`) and their long one (`rbox image pull`).

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `rbox image …`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// List the images
    #[command(visible_alias = "list")]
    Ls(ImageListArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Take images from an archive (docker save, OCI archive or layout)
    Load(LoadArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Make an image of a root file system in a tar archive
    Import(ImportArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RemoveImageArgs),
    /// Give an image a further name
    Tag(TagArgs),
    /// Print all that is known of images
    Inspect(InspectImageArgs),
}

/// `rbox pull`
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// The machine to fetch for, when the image has several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Print nothing but the image's full name
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// What to fetch: alpine, alpine:3.20, registry.example/team/web@sha256:DIGEST
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: String,
}

/// `rbox load`
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Read this file or directory, not the standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Do not print what was loaded
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The forms that `rbox save` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SaveForm {
    /// As docker save writes it
    DockerArchive,
    /// An OCI layout in a tar archive
    OciArchive,
    /// An OCI layout in a directory
    OciDir,
}

/// `rbox save`
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// Write this file, not the standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The form of the archive
    #[arg(long, value_enum, value_name = "FORM", default_value = "docker-archive")]
    pub(crate) format: SaveForm,
    /// The images to write
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `rbox import`
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Change the image's configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// The tar archive; - is the standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The name to give it
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

/// `rbox images`
#[derive(Args, Debug)]
pub(crate) struct ImageListArgs {
    /// Show intermediate images, too: as rbox keeps none, the list is the same
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print identifiers alone
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print whole identifiers
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Show the digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Show only what fits: reference=PATTERN, dangling=true, before=IMAGE, since=IMAGE, label=KEY[=VALUE]
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::value::key_value)]
    pub(crate) filter: Vec<(String, String)>,
    /// Print by a Go template, as `table TEMPLATE`, or as json
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Show only images of this name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

/// `rbox rmi`
#[derive(Args, Debug)]
pub(crate) struct RemoveImageArgs {
    /// Remove it with all its names
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The images: names or identifiers
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `rbox tag`
#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    /// The image that is here
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The further name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
}

/// `rbox image inspect`
#[derive(Args, Debug)]
pub(crate) struct InspectImageArgs {
    /// Print by a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// The images: names or identifiers
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}
