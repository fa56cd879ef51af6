//! COM_CHANGE_USER; its shape is compared with another implementation in `oracle`.

use proptest::prelude::*;

use super::*;

#[test]
fn it_may_end_after_the_database() {
    let caps = Caps::SECURE_CONNECTION | Caps::PLUGIN_AUTH;
    let asked = ChangeUser::parse(b"\x11ann\0\x02xyd\0", caps).unwrap();
    assert_eq!(
        (&*asked.user, &*asked.auth, asked.database.as_deref()),
        (&b"ann"[..], &b"xy"[..], Some(&b"d"[..]))
    );
    assert_eq!((asked.charset, asked.auth_plugin), (None, None));
    assert!(ChangeUser::parse(b"\x12ann\0\0d\0", caps).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bits: u64, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = ChangeUser::parse(&[&[0x11][..], &bytes].concat(), Caps::from_bits_retain(bits));
    }
}
