//! A private certificate authority, for issuers that speak `https:`, and for servers.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Cluster;
use crate::wait::eventually;

/// Gives a running server TLS, and returns the file with the authority that its clients trust.
pub fn encrypt(cluster: &Cluster) -> PathBuf {
    let authority = Authority::new();
    let certificate = authority.issue(cluster.host(), Validity::Valid);
    cluster.write_file("server.crt", certificate.pem());
    cluster.write_file("server.key", &certificate.key_pem());
    let root = cluster.write_file(ROOT, &authority.pem());
    // Clients that run as somebody else read it too.
    cluster.client().batch_execute("ALTER SYSTEM SET ssl = on").expect("ALTER SYSTEM");
    cluster.reload();
    eventually("TLS", || {
        let on: String = cluster.client().query_one("SHOW ssl", &[]).expect("SHOW").get(0);
        (on == "on").then_some(())
    });
    root
}

/// The file of the data directory with the authority of [`encrypt`].
const ROOT: &str = "root.crt";

/// The file with the authority of a server to which [`encrypt`] gave TLS.
pub fn root_of(cluster: &Cluster) -> PathBuf {
    cluster.data_dir().join(ROOT)
}

/// What a client trusts of a server to which [`encrypt`] gave TLS. It is made once.
pub(crate) fn client_config(cluster: &Cluster) -> Arc<ClientConfig> {
    static CONFIGS: Mutex<BTreeMap<PathBuf, Arc<ClientConfig>>> = Mutex::new(BTreeMap::new());
    CONFIGS.lock().entry(root_of(cluster)).or_insert_with_key(|root| new_client_config(root)).clone()
}

fn new_client_config(root: &Path) -> Arc<ClientConfig> {
    let authority = CertificateDer::from_pem_file(root).expect("the server has TLS");
    let mut roots = RootCertStore::empty();
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Whether a certificate's validity period includes the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Valid now and for long.
    Valid,
    /// It was valid once.
    Expired,
}

/// A certificate authority that nobody trusts unless told to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// An authority with a new key.
    #[expect(clippy::new_without_default, reason = "each one is different")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "pg_jwks test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key of the authority");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("certificate of the authority");
        Self { issuer }
    }

    /// The authority's own certificate: what a client must trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's own certificate, used as a server's.
    pub fn own_certificate(&self, host: &str) -> Certificate {
        let key =
            KeyPair::from_pkcs8_pem_and_sign_algo(&self.issuer.key().serialize_pem(), self.issuer.key().algorithm());
        let der: &CertificateDer = self.issuer.der();
        Certificate { host: host.into(), der: der.clone(), pem: self.pem(), key: key.expect("the authority's key") }
    }

    /// A server certificate for a host name or an IP address.
    pub fn issue(&self, host: impl Display, validity: Validity) -> Certificate {
        self.issue_for(vec![host.to_string()], validity)
    }

    /// A server certificate for several hosts.
    pub fn issue_for(&self, hosts: Vec<String>, validity: Validity) -> Certificate {
        let host = hosts.first().expect("a host").clone();
        let mut params = CertificateParams::new(hosts).expect("host names or IP addresses");
        params.distinguished_name.push(DnType::CommonName, host.as_str());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = match validity {
            Validity::Valid => date_time_ymd(2120, 1, 1),
            Validity::Expired => date_time_ymd(2021, 1, 1),
        };
        let key = KeyPair::generate().expect("key of the server");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate of the server");
        Certificate { host, der: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

/// A server certificate and its private key.
pub struct Certificate {
    host: String,
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Certificate {
    /// The host it was issued for.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The private key (PKCS #8), as PostgreSQL's `ssl_key_file` wants it.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// What a server needs to have it.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key.into())
            .expect("certificate and key fit");
        Arc::new(config)
    }
}
