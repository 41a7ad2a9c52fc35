//! What is loaded, what is refused and why, and who gets which certificate.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SignatureAlgorithm as Kind, date_time_ymd,
};
use rustls::SignatureScheme;
use tempfile::TempDir;

use super::*;

/// Long before the certificates of `params` end.
const NOW: Wall = Wall(1_790_000_000_000);
const DAY_MS: u64 = 86_400_000;

// Throw-away keys as openssl writes them, which rcgen cannot: `openssl genrsa -traditional`, `openssl ecparam -genkey`.
const RSA_PKCS1: &str = include_str!("tests/rsa.pkcs1.pem");
const RSA_PKCS8: &str = include_str!("tests/rsa.pkcs8.pem");
const EC_SEC1: &str = include_str!("tests/ec.sec1.pem");
const EC_PKCS8: &str = include_str!("tests/ec.pkcs8.pem");

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        path
    }

    /// A self-signed certificate of this name of file, for these names.
    fn pair(&self, file: &str, names: &[&str]) -> CertificateSource {
        self.pair_of(file, &params(names), &KeyPair::generate().unwrap())
    }

    fn pair_of(&self, file: &str, params: &CertificateParams, key: &KeyPair) -> CertificateSource {
        let cert = self.write(&format!("{file}.crt"), &params.self_signed(key).unwrap().pem());
        let key = self.write(&format!("{file}.key"), &key.serialize_pem());
        CertificateSource { cert, key, names: Vec::new() }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

fn load(sources: &[CertificateSource]) -> (Certificates, Vec<CertificateWarning>) {
    Certificates::load(sources, NOW).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The only error there is.
fn refused(sources: &[CertificateSource]) -> String {
    let errors = Certificates::load(sources, NOW).expect_err("it must not be used");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Which of the sources a client gets that asks for this name.
fn chosen(loaded: &Certificates, name: Option<&str>) -> usize {
    let key = &loaded.choice(name)[0];
    loaded.pairs.iter().position(|pair| Arc::ptr_eq(&pair.key, key)).unwrap()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_name_chooses_the_certificate() {
    let folder = Folder::new();
    let sources = [
        folder.pair("first", &["first.example.com"]),
        folder.pair("star", &["*.example.com", "example.com"]),
        folder.pair("www", &["WWW.Example.com"]),
    ];
    let (loaded, warnings) = load(&sources);
    assert_eq!(warnings, []);
    for (name, expected) in [
        (Some("first.example.com"), 0),
        (Some("www.example.com"), 2),
        (Some("wWw.eXample.COM."), 2),
        (Some("api.example.com"), 1),
        (Some("example.com"), 1),
        // A star is one label, no more, and clients without a name they share with us get the first.
        (Some("a.b.example.com"), 0),
        (Some("example.net"), 0),
        (Some(""), 0),
        (Some("."), 0),
        (None, 0),
    ] {
        assert_eq!(chosen(&loaded, name), expected, "{name:?}");
    }
}

#[test]
fn configured_names_take_the_place_of_the_certificates_own() {
    let folder = Folder::new();
    let first = folder.pair("first", &["first.example.com"]);
    let mut second = folder.pair("second", &["a.example.com", "*.b.example.com"]);
    second.names = vec!["x.b.example.com".into(), "other.example.com".into()];
    let (loaded, warnings) = load(&[first, second]);
    assert_eq!(chosen(&loaded, Some("x.b.example.com")), 1);
    assert_eq!(chosen(&loaded, Some("other.example.com")), 1);
    assert_eq!(chosen(&loaded, Some("a.example.com")), 0);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_says(&warnings[0].message, &["second.crt", "`other.example.com`", "not made out"]);
    assert_eq!(warnings[0].source, 1);
}

#[test]
fn keys_of_every_kind_and_encoding_are_read() {
    let folder = Folder::new();
    let kinds: [&Kind; 3] = [&rcgen::PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    for (number, kind) in kinds.into_iter().enumerate() {
        let key = KeyPair::generate_for(kind).unwrap();
        load(&[folder.pair_of(&format!("kind{number}"), &params(&["a.example.com"]), &key)]);
    }
    for (pem, encoding) in
        [(RSA_PKCS1, "RSA PRIVATE KEY"), (RSA_PKCS8, "PRIVATE KEY"), (EC_SEC1, "EC PRIVATE KEY")]
    {
        assert!(pem.contains(encoding));
        let pkcs8 = if pem == EC_SEC1 { EC_PKCS8 } else { RSA_PKCS8 };
        let source = folder.pair_of("other", &params(&["a.example.com"]), &KeyPair::from_pem(pkcs8).unwrap());
        folder.write("other.key", pem);
        load(&[source]);
    }
}

#[test]
fn an_rsa_certificate_may_stand_beside_an_ecdsa_one() {
    let folder = Folder::new();
    let rsa = folder.pair_of("rsa", &params(&["a.example.com"]), &KeyPair::from_pem(RSA_PKCS8).unwrap());
    let (loaded, _) = load(&[rsa.clone(), folder.pair("ec", &["a.example.com"])]);
    assert_eq!(loaded.choice(Some("a.example.com")).len(), 2);
    assert_eq!(loaded.choice(None).len(), 2, "the first name's certificates, for clients without one");
    let can_sign = |scheme| {
        let choice = loaded.choice(Some("a.example.com"));
        choice.iter().filter(|key| key.key.choose_scheme(&[scheme]).is_some()).count()
    };
    assert_eq!(can_sign(SignatureScheme::RSA_PSS_SHA256), 1);
    assert_eq!(can_sign(SignatureScheme::ECDSA_NISTP256_SHA256), 1);
    let again = folder.pair_of("again", &params(&["a.example.com"]), &KeyPair::from_pem(RSA_PKCS8).unwrap());
    assert_says(&refused(&[rsa, again]), &["again.crt", "rsa.crt", "`a.example.com`"]);
}

#[test]
fn one_name_in_two_files_is_refused_and_both_are_named() {
    let folder = Folder::new();
    let (first, second) =
        (folder.pair("one", &["a.example.com", "b.example.com"]), folder.pair("two", &["B.example.com"]));
    assert_says(&refused(&[first, second]), &["one.crt", "two.crt", "`b.example.com`", "`names`"]);
    // A wildcard and a name it covers are no duplicates.
    load(&[folder.pair("star", &["*.example.com"]), folder.pair("www", &["www.example.com"])]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = Folder::new();
    let (first, second) = (folder.pair("one", &["a.example.com"]), folder.pair("two", &["b.example.com"]));
    let crossed = CertificateSource { key: second.key.clone(), ..first.clone() };
    assert_says(&refused(&[crossed]), &["one.crt", "two.key", "made together"]);

    let swapped = CertificateSource { cert: first.key.clone(), key: first.cert.clone(), names: Vec::new() };
    assert_says(&refused(&[swapped]), &["one.key", "BEGIN CERTIFICATE"]);

    let keyless = CertificateSource { key: folder.write("empty.key", ""), ..first.clone() };
    assert_says(&refused(&[keyless]), &["empty.key", "no private key", "PKCS#8"]);

    let missing = CertificateSource { cert: folder.0.path().join("gone.crt"), ..first.clone() };
    assert_says(&refused(&[missing]), &["cannot read", "gone.crt"]);

    let wrong_name = CertificateSource { names: vec!["f*.example.com".into()], ..first.clone() };
    assert_says(&refused(&[wrong_name]), &["one.crt", "`f*.example.com`"]);

    let nameless = folder.pair("nameless", &[]);
    assert_says(&refused(&[first, nameless.clone()]), &["nameless.crt", "no DNS name", "`names`"]);
    let (loaded, _) = load(std::slice::from_ref(&nameless));
    assert_eq!(loaded.expiries().next(), Some((shown(&nameless.cert).as_str(), 4_102_444_800)));
}

#[test]
fn every_error_is_told_at_once() {
    let folder = Folder::new();
    let gone =
        |name: &str| CertificateSource { cert: folder.0.path().join(name), ..folder.pair("one", &["a.b"]) };
    let errors = Certificates::load(&[gone("x"), folder.pair("fine", &["c.d"]), gone("y")], NOW).unwrap_err();
    assert_eq!(errors.len(), 2);
}

#[test]
fn broken_files_never_panic() {
    let folder = Folder::new();
    let source = folder.pair("one", &["a.example.com"]);
    let (cert, key) = (std::fs::read(&source.cert).unwrap(), std::fs::read(&source.key).unwrap());
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        for (path, whole) in [(&source.cert, &cert), (&source.key, &key)] {
            let mut broken = whole.clone();
            let at = random.usize(..broken.len());
            match random.u8(..3) {
                0 => broken.truncate(at),
                1 => broken[at] = random.u8(..),
                _ => drop(broken.drain(at..)),
            }
            std::fs::write(path, broken).unwrap();
            let _ = Certificates::load(std::slice::from_ref(&source), NOW);
            std::fs::write(path, whole).unwrap();
        }
    }
    load(&[source]);
}

#[test]
fn a_chain_is_sent_whole_and_its_order_matters() {
    let folder = Folder::new();
    let mut above = params(&[]);
    above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    above.distinguished_name.push(rcgen::DnType::CommonName, "above");
    let above = CertifiedIssuer::self_signed(above, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = params(&["a.example.com"]).signed_by(&key, &above).unwrap();
    let key = folder.write("own.key", &key.serialize_pem());
    let source = |parts: &[&str]| CertificateSource {
        cert: folder.write("chain.crt", &parts.concat()),
        key: key.clone(),
        names: Vec::new(),
    };
    let (loaded, warnings) = load(&[source(&[&own.pem(), &above.pem()])]);
    assert_eq!((loaded.pairs[0].key.cert.len(), warnings), (2, vec![]));

    assert_says(
        &refused(&[source(&[&above.pem(), &own.pem()])]),
        &["chain.crt", "own.key", "put that first"],
    );

    let stranger = params(&["b.example.com"]).signed_by(&KeyPair::generate().unwrap(), &above).unwrap();
    let (_, warnings) = load(&[source(&[&own.pem(), &stranger.pem()])]);
    assert_says(&warnings[0].message, &["certificate 2", "chain.crt", "number 1"]);

    let many = own.pem().repeat(17);
    assert_says(&refused(&[source(&[&many])]), &["more than 16"]);
}

#[test]
fn the_end_is_announced_and_shown() {
    let folder = Folder::new();
    let source = folder.pair("one", &["a.example.com"]);
    let end = Wall(4_102_444_800_000);
    let warning = |now: Wall| {
        let (loaded, warnings) = Certificates::load(std::slice::from_ref(&source), now).unwrap();
        assert_eq!(loaded.expiries().collect::<Vec<_>>(), [("a.example.com", 4_102_444_800)]);
        warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(warning(NOW), "");
    assert_eq!(warning(Wall(end.0 - 14 * DAY_MS)), "");
    assert_says(&warning(Wall(end.0 - 14 * DAY_MS + 1000)), &["one.crt", "expires in 13 days"]);
    assert_says(&warning(Wall(end.0 + 1000)), &["one.crt", "has expired"]);
    assert_says(&warning(Wall(0)), &["one.crt", "not valid yet"]);
}

#[test]
fn a_key_for_everybody_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let source = folder.pair("one", &["a.example.com"]);
    std::fs::set_permissions(&source.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, warnings) = load(&[source]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_says(&warnings[0].message, &["one.key", "everybody"]);
    assert_says(warnings[0].help, &["chmod"]);
}
