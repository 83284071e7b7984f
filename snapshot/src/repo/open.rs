//! From the address of a repo to the repo.
//!
//! | address | where |
//! |---|---|
//! | `file:///mnt/shared/repo` | a directory that every worker sees as the same; written with fsync |
//! | `s3://bucket/folder` | feature `aws`; `?endpoint=http://host:9000&region=eu-west-1&allow_http=true` for what speaks like S3 |
//! | `gs://bucket/folder` | feature `gcp`; `?endpoint=` |
//! | `az://container/folder` | feature `azure`; `?account=&endpoint=&allow_http=` |
//! | `memory://` | this process alone, empty at each opening; for tests |
//!
//! Credentials come from the environment, under the usual names, and never from the address.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::address::Address;
use super::upload::PART_BYTES;
use super::{Ambient, Inner, Patience, Published, Repo, SystemAmbient};
use crate::error::{Error, ErrorKind, Result, Secrets};
use crate::manifest::Marker;
use crate::names::ObjectName;

/// How a repo is opened; the defaults suit workers and coordinators.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// # let address = format!("file://{}", directory.path().display());
/// use bedload_snapshot::Repo;
///
/// let repo = Repo::open(&address).await?;
/// assert_eq!(repo.to_string(), address);
///
/// let error = Repo::open(&format!("{address}?regoin=eu-west-1")).await.unwrap_err();
/// assert!(error.to_string().contains("unknown option \"regoin\""), "{error}");
/// # Ok::<(), bedload_snapshot::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct RepoOptions {
    patience: Patience,
    ambient: Option<Arc<dyn Ambient>>,
    read_only: bool,
    allow_unfenced: bool,
    part_bytes: Option<usize>,
}

impl RepoOptions {
    /// How often requests are made, and for how long.
    pub fn patience(mut self, patience: Patience) -> RepoOptions {
        self.patience = patience;
        self
    }

    /// Where time and randomness come from (default: the system).
    pub fn ambient(mut self, ambient: Arc<dyn Ambient>) -> RepoOptions {
        self.ambient = Some(ambient);
        self
    }

    /// Writes nothing at the opening: the place must be a repo already, and is not probed.
    pub fn read_only(mut self) -> RepoOptions {
        self.read_only = true;
        self
    }

    /// Accepts a store that lets two writers create the same object. Two coordinators of one job can then both believe that they
    /// are the newest, and a checkpoint can be lost.
    pub fn allow_unfenced(mut self) -> RepoOptions {
        self.allow_unfenced = true;
        self
    }

    /// Uploads what is this long in parts of this size, which real servers find too small, so that small tests have such
    /// uploads.
    #[cfg(any(test, feature = "testing"))]
    pub fn part_bytes(mut self, bytes: usize) -> RepoOptions {
        self.part_bytes = Some(bytes.max(1));
        self
    }

    /// Opens the repo at `address`; makes one of the place when it is none yet.
    ///
    /// # Errors
    /// `Fix` for an address that is not understood, or for a store that does not refuse to create an object twice; those of
    /// the requests.
    pub async fn open(self, address: &str) -> Result<Repo> {
        let place = Opened::new(Address::understand(address)?, &self)?;
        self.open_place(place).await
    }

    /// Opens the repo at the root of `store`, which errors call `address`.
    ///
    /// # Errors
    /// As [`RepoOptions::open`].
    pub async fn open_store(self, store: Arc<dyn ObjectStore>, address: &str) -> Result<Repo> {
        let (root, address, secrets) = (Path::default(), address.to_owned(), Secrets::default());
        let place = Opened { store, root, address, secrets, directory: None };
        self.open_place(place).await
    }

    /// The place at `address` as it is: it is looked at by no request, and not made a repo. For who [tries it out](Repo::try_out).
    ///
    /// # Errors
    /// `Fix` for an address that is not understood; `Missing` for a directory that is not there.
    pub fn open_as_it_is(self, address: &str) -> Result<Repo> {
        let options = self.read_only();
        Ok(Opened::new(Address::understand(address)?, &options)?.into_repo(options))
    }

    async fn open_place(self, place: Opened) -> Result<Repo> {
        let (read_only, allow_unfenced) = (self.read_only, self.allow_unfenced);
        let repo = place.into_repo(self);
        let marker = repo.read_manifest::<Marker>(&ObjectName::Marker).await?;
        if read_only {
            let nothing = || {
                let message = "no repo: bedload.json is not there; is the address right, to the last folder?";
                Error::at(ErrorKind::Missing, repo.to_string(), None, message)
            };
            marker.ok_or_else(nothing)?;
            return Ok(repo);
        }
        if !allow_unfenced {
            repo.probe().await?;
        }
        if marker.is_none() {
            repo.publish(&ObjectName::Marker, &Marker { created_at_ms: repo.ambient().now_ms() }).await?;
        }
        Ok(repo)
    }
}

#[cfg(any(test, feature = "testing"))]
impl RepoOptions {
    /// The repo at `address` without a look at the place: no request, and no directory is opened.
    pub(crate) fn without_a_look(self, address: &str) -> Result<Repo> {
        let address = Address::understand(address)?;
        if address.url.scheme() != "file" {
            return Ok(Opened::new(address, &self)?.into_repo(self));
        }
        let (store, root, secrets) = (Arc::new(InMemory::new()), Path::default(), Secrets::default());
        Ok(Opened { store, root, address: address.text, secrets, directory: None }.into_repo(self))
    }
}

impl Repo {
    /// Opens the repo at `address`, as the defaults of [`RepoOptions`] do.
    ///
    /// # Errors
    /// As [`RepoOptions::open`].
    pub async fn open(address: &str) -> Result<Repo> {
        RepoOptions::default().open(address).await
    }

    /// Creates one object twice: a store that lets both succeed cannot tell two coordinators apart.
    async fn probe(&self) -> Result<()> {
        let name = ObjectName::Probe(u128::from(self.ambient().random()) << 64 | u128::from(self.ambient().random()));
        let marker = |created_at_ms| Marker { created_at_ms };
        let (first, _) = self.publish(&name, &marker(1)).await?;
        let (second, _) = self.publish(&name, &marker(2)).await?;
        self.delete(&name).await?;
        if first == Published::Ours && second != Published::Ours {
            return Ok(());
        }
        Err(self.unfenced())
    }

    /// The error for a store that creates an object twice.
    pub(super) fn unfenced(&self) -> Error {
        let message = "this object store lets two writers create the same object, so a coordinator that was replaced could \
                       still complete checkpoints: use one that honours If-None-Match, or allow it knowingly";
        Error::at(ErrorKind::Fix, self.to_string(), None, message)
    }
}

/// What an address names.
struct Opened {
    store: Arc<dyn ObjectStore>,
    root: Path,
    address: String,
    secrets: Secrets,
    /// The directory, where it is one.
    directory: Option<PathBuf>,
}

impl Opened {
    fn new(address: Address, options: &RepoOptions) -> Result<Opened> {
        let mut secrets = Secrets::default();
        let store: Arc<dyn ObjectStore> = match address.url.scheme() {
            "file" => {
                let (store, directory) = open_directory(&address, options)?;
                let (root, directory) = (Path::default(), Some(directory));
                return Ok(Opened { store, root, address: address.text, secrets, directory });
            }
            "memory" => Arc::new(InMemory::new()),
            _ => open_cloud(&address, &mut secrets)?,
        };
        Ok(Opened { store, root: address.root, address: address.text, secrets, directory: None })
    }

    fn into_repo(self, options: RepoOptions) -> Repo {
        let Opened { store, root, address, secrets, directory } = self;
        let ambient = options.ambient.unwrap_or_else(|| Arc::new(SystemAmbient::new()));
        let (patience, part_bytes) = (options.patience, options.part_bytes.unwrap_or(PART_BYTES));
        Repo(Arc::new(Inner { store, root, address, patience, ambient, secrets, directory, part_bytes }))
    }
}

fn open_directory(address: &Address, options: &RepoOptions) -> Result<(Arc<dyn ObjectStore>, PathBuf)> {
    let path = address.url.to_file_path().map_err(|()| address.fix("this is no path"))?;
    if !options.read_only {
        use bedload_lsm::fs::Fs;
        bedload_lsm::fs::DiskFs.create_dir(&path)?;
    }
    let store = LocalFileSystem::new_with_prefix(&path).map_err(|cause| {
        let (kind, message) = match path.try_exists() {
            Ok(true) => (ErrorKind::Fix, format!("open: {cause}")),
            Ok(false) => {
                (ErrorKind::Missing, "there is no such folder; is the address right, and is it mounted?".into())
            }
            Err(cause) => (ErrorKind::Denied, format!("open: {cause}; may this user enter the folder?")),
        };
        Error::at(kind, &*address.text, None, message)
    })?;
    Ok((Arc::new(store.with_fsync(true)), path))
}

#[cfg(not(feature = "cloud"))]
fn open_cloud(address: &Address, _secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    Err(without_feature(address))
}

fn without_feature(address: &Address) -> Error {
    let scheme = address.url.scheme();
    let feature = match scheme {
        "s3" => "aws",
        "gs" => "gcp",
        _ => "azure",
    };
    address.fix(format!("built without {scheme}://: build bedload-snapshot with the feature {feature:?}"))
}

#[cfg(feature = "cloud")]
fn open_cloud(address: &Address, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    // Fails when the process has chosen a provider itself, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    match address.url.scheme() {
        #[cfg(feature = "aws")]
        "s3" => open_s3(address, secrets),
        #[cfg(feature = "gcp")]
        "gs" => open_gcs(address, secrets),
        #[cfg(feature = "azure")]
        "az" => open_azure(address, secrets),
        _ => Err(without_feature(address)),
    }
}

/// The clients' own tries: few, since ours come on top.
#[cfg(feature = "cloud")]
fn few_retries() -> object_store::RetryConfig {
    let retry_timeout = std::time::Duration::from_secs(20);
    object_store::RetryConfig { max_retries: 2, retry_timeout, ..object_store::RetryConfig::default() }
}

#[cfg(feature = "cloud")]
fn built<T: ObjectStore>(
    store: object_store::Result<T>,
    address: &Address,
    secrets: &Secrets,
) -> Result<Arc<dyn ObjectStore>> {
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(cause) => {
            let error = crate::error::object_error("open", &address.text, &cause, secrets);
            Err(address.fix(error.to_string()))
        }
    }
}

#[cfg(feature = "aws")]
fn open_s3(address: &Address, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(address.bucket()).with_retry(few_retries());
    if let Some(endpoint) = address.option("endpoint") {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = address.option("region") {
        builder = builder.with_region(region);
    }
    if address.option("allow_http") == Some("true") {
        builder = builder.with_allow_http(true);
    }
    for key in [Key::SecretAccessKey, Key::Token] {
        builder.get_config_value(&key).iter().for_each(|secret| secrets.add(secret));
    }
    built(builder.build(), address, secrets)
}

#[cfg(feature = "gcp")]
fn open_gcs(address: &Address, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};
    let mut builder =
        GoogleCloudStorageBuilder::from_env().with_bucket_name(address.bucket()).with_retry(few_retries());
    if let Some(endpoint) = address.option("endpoint") {
        builder = builder.with_config(Key::BaseUrl, endpoint);
    }
    for key in [Key::ServiceAccountKey, Key::BearerToken] {
        builder.get_config_value(&key).iter().for_each(|secret| secrets.add(secret));
    }
    built(builder.build(), address, secrets)
}

#[cfg(feature = "azure")]
fn open_azure(address: &Address, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(address.bucket()).with_retry(few_retries());
    if let Some(account) = address.option("account") {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = address.option("endpoint") {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    if address.option("allow_http") == Some("true") {
        builder = builder.with_allow_http(true);
    }
    for key in [Key::AccessKey, Key::ClientSecret, Key::SasKey, Key::Token] {
        builder.get_config_value(&key).iter().for_each(|secret| secrets.add(secret));
    }
    built(builder.build(), address, secrets)
}
