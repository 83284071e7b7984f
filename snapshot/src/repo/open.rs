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
use url::Url;

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
    #[cfg(feature = "testing")]
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
        let place = parse(address, &self)?;
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

    async fn open_place(self, place: Opened) -> Result<Repo> {
        let Opened { store, root, address, secrets, directory } = place;
        let ambient = self.ambient.unwrap_or_else(|| Arc::new(SystemAmbient::new()));
        let (patience, part_bytes) = (self.patience, self.part_bytes.unwrap_or(PART_BYTES));
        let repo = Repo(Arc::new(Inner { store, root, address, patience, ambient, secrets, directory, part_bytes }));
        let marker = repo.read_manifest::<Marker>(&ObjectName::Marker).await?;
        if self.read_only {
            let nothing = || {
                let message = "no repo: bedload.json is not there; is the address right, to the last folder?";
                Error::at(ErrorKind::Fix, repo.to_string(), None, message)
            };
            marker.ok_or_else(nothing)?;
            return Ok(repo);
        }
        if !self.allow_unfenced {
            repo.probe().await?;
        }
        if marker.is_none() {
            repo.publish(&ObjectName::Marker, &Marker { created_at_ms: repo.ambient().now_ms() }).await?;
        }
        Ok(repo)
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
        let message = "this object store lets two writers create the same object, so a coordinator that was replaced could \
                       still complete checkpoints: use one that honours If-None-Match, or allow it knowingly";
        Err(Error::at(ErrorKind::Fix, self.to_string(), None, message))
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

/// The options of an address, taken one by one; what is left is unknown.
struct Query(Vec<(String, String)>);

impl Query {
    #[cfg(feature = "cloud")]
    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// Fails when an option was not taken; `known` are those that can be.
    fn end(&self, address: &str, known: &[&str]) -> Result<()> {
        let Some((unknown, _)) = self.0.first() else { return Ok(()) };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::at(ErrorKind::Fix, address, None, format!("unknown option {unknown:?}; known here: {known}")))
    }
}

fn parse(text: &str, options: &RepoOptions) -> Result<Opened> {
    let fix = |address: &str, message: String| Error::at(ErrorKind::Fix, address, None, message);
    // What does not parse is not quoted: it may hold credentials.
    let url = Url::parse(text).map_err(|flaw| {
        let message = format!("the address of the repo is not understood: {flaw}; expected one like file:///mnt/repo or s3://bucket/folder");
        Error::new(ErrorKind::Fix, message)
    })?;
    let host = url.host_str().unwrap_or_default();
    let address = format!("{}://{host}{}", url.scheme(), url.path().trim_end_matches('/'));
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fix(&address, "credentials in an address end up in logs: put them into the environment".into()));
    }
    if url.fragment().is_some() {
        return Err(fix(&address, "an address has no part behind #".into()));
    }
    let root = Path::from_url_path(url.path()).map_err(|flaw| fix(&address, flaw.to_string()))?;
    let mut query = Query(url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect());
    let mut secrets = Secrets::default();
    let store = match url.scheme() {
        "file" if !host.is_empty() => {
            return Err(fix(
                &address,
                format!("file://{host} names a machine: write three slashes, as in file:///mnt/repo"),
            ));
        }
        "file" => {
            query.end(&address, &[])?;
            let (store, directory) = open_directory(&url, &address, options)?;
            return Ok(Opened { store, root: Path::default(), address, secrets, directory: Some(directory) });
        }
        "memory" => {
            query.end(&address, &[])?;
            Arc::new(InMemory::new())
        }
        "s3" | "gs" | "az" if host.is_empty() => {
            return Err(fix(&address, format!("no bucket or container: expected {}://name/folder", url.scheme())));
        }
        scheme @ ("s3" | "gs" | "az") => open_cloud(scheme, host, &mut query, &address, &mut secrets)?,
        scheme => {
            let message = format!("{scheme}:// is not understood: expected file, s3, gs, az or memory");
            return Err(fix(&address, message));
        }
    };
    Ok(Opened { store, root, address, secrets, directory: None })
}

fn open_directory(url: &Url, address: &str, options: &RepoOptions) -> Result<(Arc<dyn ObjectStore>, PathBuf)> {
    let path = url.to_file_path().map_err(|()| Error::at(ErrorKind::Fix, address, None, "this is no path"))?;
    if !options.read_only {
        use bedload_lsm::fs::Fs;
        bedload_lsm::fs::DiskFs.create_dir(&path)?;
    }
    let store = LocalFileSystem::new_with_prefix(&path).map_err(|cause| {
        let message = format!("open: {cause}; does the directory exist, and may this user enter it?");
        Error::at(ErrorKind::Fix, address, None, message)
    })?;
    Ok((Arc::new(store.with_fsync(true)), path))
}

#[cfg(not(feature = "cloud"))]
fn open_cloud(
    scheme: &str,
    _bucket: &str,
    _query: &mut Query,
    address: &str,
    _secrets: &mut Secrets,
) -> Result<Arc<dyn ObjectStore>> {
    Err(without_feature(scheme, address))
}

fn without_feature(scheme: &str, address: &str) -> Error {
    let feature = match scheme {
        "s3" => "aws",
        "gs" => "gcp",
        _ => "azure",
    };
    let message = format!("built without {scheme}://: build bedload-snapshot with the feature {feature:?}");
    Error::at(ErrorKind::Fix, address, None, message)
}

#[cfg(feature = "cloud")]
fn open_cloud(
    scheme: &str,
    bucket: &str,
    query: &mut Query,
    address: &str,
    secrets: &mut Secrets,
) -> Result<Arc<dyn ObjectStore>> {
    // Fails when the process has chosen a provider itself, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    match scheme {
        #[cfg(feature = "aws")]
        "s3" => open_s3(bucket, query, address, secrets),
        #[cfg(feature = "gcp")]
        "gs" => open_gcs(bucket, query, address, secrets),
        #[cfg(feature = "azure")]
        "az" => open_azure(bucket, query, address, secrets),
        _ => Err(without_feature(scheme, address)),
    }
}

/// The clients' own tries: few, since ours come on top.
#[cfg(feature = "cloud")]
fn few_retries() -> object_store::RetryConfig {
    let retry_timeout = std::time::Duration::from_secs(20);
    object_store::RetryConfig { max_retries: 2, retry_timeout, ..object_store::RetryConfig::default() }
}

/// Reads an option that is `true` or `false`.
#[cfg(feature = "cloud")]
fn flag(query: &mut Query, name: &str, address: &str) -> Result<bool> {
    match query.take(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            Err(Error::at(ErrorKind::Fix, address, None, format!("{name}={other}: expected true or false")))
        }
    }
}

/// Reads the option that says where the server is. Like the address it ends up in logs.
#[cfg(feature = "cloud")]
fn take_endpoint(query: &mut Query, address: &str) -> Result<Option<String>> {
    let Some(endpoint) = query.take("endpoint") else { return Ok(None) };
    let fix = |message: &str| Err(Error::at(ErrorKind::Fix, address, None, message));
    match Url::parse(&endpoint) {
        Err(_) => fix("endpoint: expected an address like http://host:9000"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            fix("credentials in an endpoint end up in logs: put them into the environment")
        }
        Ok(_) => Ok(Some(endpoint)),
    }
}

#[cfg(feature = "cloud")]
fn built<T: ObjectStore>(
    store: object_store::Result<T>,
    address: &str,
    secrets: &Secrets,
) -> Result<Arc<dyn ObjectStore>> {
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(cause) => {
            let error = crate::error::object_error("open", address, &cause, secrets);
            Err(Error::at(ErrorKind::Fix, address, None, error.to_string()))
        }
    }
}

#[cfg(feature = "aws")]
fn open_s3(bucket: &str, query: &mut Query, address: &str, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(few_retries());
    if let Some(endpoint) = take_endpoint(query, address)? {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = query.take("region") {
        builder = builder.with_region(region);
    }
    if flag(query, "allow_http", address)? {
        builder = builder.with_allow_http(true);
    }
    query.end(address, &["endpoint", "region", "allow_http"])?;
    for key in [Key::SecretAccessKey, Key::Token] {
        builder.get_config_value(&key).iter().for_each(|secret| secrets.add(secret));
    }
    built(builder.build(), address, secrets)
}

#[cfg(feature = "gcp")]
fn open_gcs(bucket: &str, query: &mut Query, address: &str, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(few_retries());
    if let Some(endpoint) = take_endpoint(query, address)? {
        builder = builder.with_config(Key::BaseUrl, endpoint);
    }
    query.end(address, &["endpoint"])?;
    for key in [Key::ServiceAccountKey, Key::BearerToken] {
        builder.get_config_value(&key).iter().for_each(|secret| secrets.add(secret));
    }
    built(builder.build(), address, secrets)
}

#[cfg(feature = "azure")]
fn open_azure(bucket: &str, query: &mut Query, address: &str, secrets: &mut Secrets) -> Result<Arc<dyn ObjectStore>> {
    use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_retry(few_retries());
    if let Some(account) = query.take("account") {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = take_endpoint(query, address)? {
        builder = builder.with_endpoint(endpoint);
    }
    if flag(query, "allow_http", address)? {
        builder = builder.with_allow_http(true);
    }
    query.end(address, &["account", "endpoint", "allow_http"])?;
    for key in [Key::AccessKey, Key::ClientSecret, Key::SasKey, Key::Token] {
        builder.get_config_value(&key).iter().for_each(|secret| secrets.add(secret));
    }
    built(builder.build(), address, secrets)
}
