use aegis::aegis128l::Aegis128L;
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::AeadInOut;
use tunmesh_session::Suite;

/// One end of a handshake, by the formulas of section 5.4.2 to 5.4.6, whose names it uses; it panics at what does not
/// authenticate. The other suite differs as `Suite` documents.
pub(crate) struct Paper {
    suite: Suite,
    /// `S priv`, `S pub`, `S pub` of the other, `Q`, `E priv`, `E pub` of the other.
    s_priv: Key,
    s_pub: Key,
    other_pub: Key,
    psk: Key,
    e_priv: Key,
    other_e_pub: Key,
    ck: Key,
    h: Key,
    local_index: u32,
    other_index: u32,
    t_send: Key,
    t_recv: Key,
}

type Key = [u8; 32];

impl Paper {
    pub(crate) fn new(suite: Suite, s_priv: Key, other_pub: Key, psk: Key) -> Self {
        let zero = [0; 32];
        Self {
            suite,
            s_priv,
            s_pub: public(&s_priv),
            other_pub,
            psk,
            e_priv: zero,
            other_e_pub: zero,
            ck: zero,
            h: zero,
            local_index: 0,
            other_index: 0,
            t_send: zero,
            t_recv: zero,
        }
    }

    pub(crate) fn initiation(&mut self, e_priv: &Key, index: u32, timestamp: &[u8; 12]) -> Vec<u8> {
        (self.e_priv, self.local_index) = (*e_priv, index);
        let e_pub = public(e_priv);
        self.begin(&self.other_pub.clone());
        [self.ck] = kdf(&self.ck, &e_pub);
        self.mix(&e_pub);
        let mut key;
        [self.ck, key] = kdf(&self.ck, &dh(e_priv, &self.other_pub));
        let sealed_static = self.seal_and_mix(&key, &self.s_pub.clone());
        [self.ck, key] = kdf(&self.ck, &dh(&self.s_priv, &self.other_pub));
        let sealed_timestamp = self.seal_and_mix(&key, timestamp);
        let message = [&[1, 0, 0, 0], &index.to_le_bytes()[..], &e_pub, &sealed_static, &sealed_timestamp].concat();
        self.with_macs(message)
    }

    pub(crate) fn handle_initiation(&mut self, message: &[u8]) -> Vec<u8> {
        assert_eq!((message.len(), &message[..4]), (148, &[1, 0, 0, 0][..]));
        self.check_macs(message);
        self.other_index = index(&message[4..8]);
        self.other_e_pub = message[8..40].try_into().unwrap();
        self.begin(&self.s_pub.clone());
        [self.ck] = kdf(&self.ck, &self.other_e_pub);
        self.mix(&message[8..40]);
        let mut key;
        [self.ck, key] = kdf(&self.ck, &dh(&self.s_priv, &self.other_e_pub));
        assert_eq!(self.open_and_mix(&key, &message[40..88]), self.other_pub);
        [self.ck, key] = kdf(&self.ck, &dh(&self.s_priv, &self.other_pub));
        self.open_and_mix(&key, &message[88..116])
    }

    pub(crate) fn response(&mut self, e_priv: &Key, index: u32) -> Vec<u8> {
        (self.e_priv, self.local_index) = (*e_priv, index);
        let e_pub = public(e_priv);
        [self.ck] = kdf(&self.ck, &e_pub);
        self.mix(&e_pub);
        [self.ck] = kdf(&self.ck, &dh(e_priv, &self.other_e_pub));
        [self.ck] = kdf(&self.ck, &dh(e_priv, &self.other_pub));
        let key = self.mix_psk();
        let empty = self.seal_and_mix(&key, &[]);
        [self.t_recv, self.t_send] = kdf(&self.ck, &[]);
        let (ours, theirs) = (index.to_le_bytes(), self.other_index.to_le_bytes());
        self.with_macs([&[2, 0, 0, 0], &ours[..], &theirs, &e_pub, &empty].concat())
    }

    pub(crate) fn handle_response(&mut self, message: &[u8]) {
        assert_eq!((message.len(), &message[..4]), (92, &[2, 0, 0, 0][..]));
        self.check_macs(message);
        assert_eq!(index(&message[8..12]), self.local_index);
        self.other_index = index(&message[4..8]);
        let e_pub: Key = message[12..44].try_into().unwrap();
        [self.ck] = kdf(&self.ck, &e_pub);
        self.mix(&e_pub);
        [self.ck] = kdf(&self.ck, &dh(&self.e_priv, &e_pub));
        [self.ck] = kdf(&self.ck, &dh(&self.s_priv, &e_pub));
        let key = self.mix_psk();
        assert!(self.open_and_mix(&key, &message[44..60]).is_empty());
        [self.t_send, self.t_recv] = kdf(&self.ck, &[]);
    }

    pub(crate) fn seal(&self, counter: u64, packet: &[u8]) -> Vec<u8> {
        let header = [&[4, 0, 0, 0], &self.other_index.to_le_bytes()[..], &counter.to_le_bytes()].concat();
        let sealed = match self.suite {
            Suite::Aegis => {
                let (sealed, tag) = aegis(&self.t_send, counter).encrypt(packet, &header);
                [sealed, tag.to_vec()].concat()
            }
            Suite::ChaChaPoly => seal(&self.t_send, counter, packet, &[]),
        };
        [header, sealed].concat()
    }

    pub(crate) fn open(&self, message: &[u8]) -> Vec<u8> {
        assert_eq!((&message[..4], index(&message[4..8])), (&[4, 0, 0, 0][..], self.local_index));
        let counter = u64::from_le_bytes(message[8..16].try_into().unwrap());
        let (header, sealed) = message.split_at(16);
        match self.suite {
            Suite::Aegis => {
                let (sealed, tag) = sealed.split_last_chunk().unwrap();
                aegis(&self.t_recv, counter).decrypt(sealed, tag, header).unwrap()
            }
            Suite::ChaChaPoly => open(&self.t_recv, counter, sealed, &[]),
        }
    }

    pub(crate) fn remote_index(&self) -> u32 {
        self.other_index
    }

    /// `C := Hash(Construction)`, `H := Hash(Hash(C || Identifier) || S pub of the responder)`.
    fn begin(&mut self, responder: &Key) {
        let identifier = match self.suite {
            Suite::Aegis => "TunMesh v1",
            Suite::ChaChaPoly => "WireGuard v1 zx2c4 Jason@zx2c4.com",
        };
        // Noise hashes a name only if it is longer than a hash; this one is.
        self.ck = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        self.h = hash(&[&self.ck, identifier.as_bytes()]);
        self.mix(responder);
    }

    fn mix(&mut self, data: &[u8]) {
        self.h = hash(&[&self.h, data]);
    }

    /// `(C, tau, kappa) := Kdf3(C, Q)`, `H := Hash(H || tau)`; returns kappa.
    fn mix_psk(&mut self) -> Key {
        let [ck, tau, kappa] = kdf(&self.ck, &self.psk);
        self.ck = ck;
        self.mix(&tau);
        kappa
    }

    fn seal_and_mix(&mut self, key: &Key, plaintext: &[u8]) -> Vec<u8> {
        let sealed = seal(key, 0, plaintext, &self.h);
        self.mix(&sealed);
        sealed
    }

    fn open_and_mix(&mut self, key: &Key, sealed: &[u8]) -> Vec<u8> {
        let plaintext = open(key, 0, sealed, &self.h);
        self.mix(sealed);
        plaintext
    }

    fn with_macs(&self, message: Vec<u8>) -> Vec<u8> {
        let mac1 = mac(&self.mac1_key(&self.other_pub), &message);
        [message, mac1.to_vec(), vec![0; 16]].concat()
    }

    fn check_macs(&self, message: &[u8]) {
        let (body, macs) = message.split_at(message.len() - 32);
        assert_eq!((&macs[..16], &macs[16..]), (&mac(&self.mac1_key(&self.s_pub), body)[..], &[0; 16][..]));
    }

    fn mac1_key(&self, receiver: &Key) -> Key {
        let label = match self.suite {
            Suite::Aegis => b"mac1-tun",
            Suite::ChaChaPoly => b"mac1----",
        };
        hash(&[label, receiver])
    }
}

fn aegis(key: &Key, counter: u64) -> Aegis128L<16> {
    let (key, mut nonce): (&[u8; 16], [u8; 16]) = (key[..16].try_into().unwrap(), key[16..].try_into().unwrap());
    nonce.iter_mut().zip(counter.to_le_bytes()).for_each(|(byte, counter)| *byte ^= counter);
    Aegis128L::new(key, &nonce)
}

fn seal(key: &Key, counter: u64, plaintext: &[u8], authenticated: &[u8]) -> Vec<u8> {
    let mut sealed = plaintext.to_vec();
    let cipher = ChaCha20Poly1305::new(key.into());
    let nonce = nonce(counter).into();
    let tag = cipher.encrypt_inout_detached(&nonce, authenticated, sealed.as_mut_slice().into()).unwrap();
    [sealed, tag.to_vec()].concat()
}

fn open(key: &Key, counter: u64, sealed: &[u8], authenticated: &[u8]) -> Vec<u8> {
    let (sealed, tag) = sealed.split_last_chunk::<16>().unwrap();
    let mut plaintext = sealed.to_vec();
    let cipher = ChaCha20Poly1305::new(key.into());
    let nonce = nonce(counter).into();
    cipher.decrypt_inout_detached(&nonce, authenticated, plaintext.as_mut_slice().into(), &(*tag).into()).unwrap();
    plaintext
}

fn nonce(counter: u64) -> [u8; 12] {
    [&[0; 4], &counter.to_le_bytes()[..]].concat().try_into().unwrap()
}

fn public(private: &Key) -> Key {
    let private = PrivateKey::from_private_key(&X25519, private).unwrap();
    private.compute_public_key().unwrap().as_ref().try_into().unwrap()
}

fn dh(private: &Key, public: &Key) -> Key {
    let private = PrivateKey::from_private_key(&X25519, private).unwrap();
    let public = UnparsedPublicKey::new(&X25519, public);
    agreement::agree(&private, public, (), |shared| Ok(shared.try_into().unwrap())).unwrap()
}

fn hash(parts: &[&[u8]]) -> Key {
    let mut hash = Blake2s256::new();
    parts.iter().for_each(|part| Digest::update(&mut hash, part));
    hash.finalize().into()
}

/// HMAC (RFC 2104) of `Hash`, with blocks of 64 bytes.
fn hmac(key: &Key, parts: &[&[u8]]) -> Key {
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ byte).collect() };
    let inner = hash(&[&[&pad(0x36)[..]], parts].concat());
    hash(&[&pad(0x5c), &inner])
}

/// `Kdf n`: `t0 := Hmac(key, input)`, `t i := Hmac(t0, t i-1 || i)`.
fn kdf<const N: usize>(key: &Key, input: &[u8]) -> [Key; N] {
    let t0 = hmac(key, &[input]);
    let mut before = Vec::new();
    let mut outputs = [[0; 32]; N];
    for (i, output) in (1u8..).zip(&mut outputs) {
        *output = hmac(&t0, &[&before, &[i]]);
        before = output.to_vec();
    }
    outputs
}

fn mac(key: &Key, data: &[u8]) -> [u8; 16] {
    let mut mac = Blake2sMac::<U16>::new_from_slice(key).unwrap();
    Update::update(&mut mac, data);
    mac.finalize_fixed().into()
}

fn index(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}
