//! Real clients, let in by our side of the handshake, and real servers that want the password encrypted by RSA.
//!
//! RSA is openssl's, by its command line: it is not this crate's affair.

#[cfg(test)]
mod clients {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::{Command as Program, Stdio};
    use std::thread;

    use bytes::{Buf, BytesMut};
    use clonelove_testkit::{
        APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Flavour, Readiness, Sandbox, not_covered,
    };
    use clonelove_wire::auth::{Login, NATIVE, SHA2};
    use clonelove_wire::frame::{Look, look_packet, write_packet};
    use clonelove_wire::handshake::client::{ClientConfig, ClientHandshake, ClientStep};
    use clonelove_wire::handshake::server::{Established, Offer, ServerHandshake, ServerStep};
    use clonelove_wire::packet::Greeting;
    use clonelove_wire::packet::err::Err as ErrPacket;
    use clonelove_wire::packet::ok::Ok as OkPacket;
    use clonelove_wire::{Caps, Command, Secret, Status, code};

    const PASSWORD: &str = "a password that is longer than its salt";

    /// A socket of either sort.
    trait Socket: Read + Write {}
    impl<T: Read + Write> Socket for T {}

    /// Where a client is awaited.
    enum Door {
        Tcp(TcpListener),
        Unix(UnixListener),
    }

    impl Door {
        fn accept(&self) -> Box<dyn Socket> {
            match self {
                Door::Tcp(listener) => Box::new(listener.accept().unwrap().0),
                Door::Unix(listener) => Box::new(listener.accept().unwrap().0),
            }
        }
    }

    /// One end of a connection.
    struct Link<'a> {
        stream: &'a mut dyn Socket,
        buf: BytesMut,
        seq: u8,
    }

    impl Link<'_> {
        fn receive(&mut self) -> Option<Vec<u8>> {
            loop {
                if let Look::Packet { payload, used, seq_last, .. } = look_packet(&self.buf, None, 1 << 20) {
                    let payload = payload.into_owned();
                    self.seq = seq_last.wrapping_add(1);
                    self.buf.advance(used);
                    return Some(payload);
                }
                let mut piece = [0; 4096];
                match self.stream.read(&mut piece) {
                    Ok(0) | Err(_) => return None,
                    Ok(len) => self.buf.extend_from_slice(&piece[..len]),
                }
            }
        }

        fn send(&mut self, payload: &[u8]) {
            let mut out = BytesMut::new();
            self.seq = write_packet(&mut out, self.seq, payload);
            // A client that left is noticed when it is read from.
            let _ = self.stream.write_all(&out);
        }
    }

    fn openssl(args: &[&str], key: &Path, input: &[u8]) -> Vec<u8> {
        let mut child = Program::new("openssl")
            .args(["pkeyutl", "-pkeyopt", "rsa_padding_mode:oaep"])
            .args(args)
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// How a client is to be met.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        greeted: &'static str,
        force_full: bool,
        known: &'static str,
        given: &'static str,
        secure: bool,
    }

    fn greeting(plugin: &str) -> Greeting {
        let caps = Caps::from_halves(0x00FF_FFFF, 0) | Caps::DEPRECATE_EOF;
        Greeting {
            version: "8.0.40-test".into(),
            connection_id: 7,
            salt: *b"0123456789abcdefghij",
            caps: caps.difference(Caps::SSL | Caps::COMPRESS),
            charset: 45,
            status: Status::AUTOCOMMIT.bits(),
            auth_plugin: plugin.into(),
        }
    }

    /// Lets one client in, or refuses it, and answers everything it says with OK until it leaves.
    fn serve(door: &Door, case: Case, keys: &Path) -> Option<Box<Established>> {
        let mut stream = door.accept();
        let mut link = Link { stream: &mut *stream, buf: BytesMut::new(), seq: 0 };
        let handshake = ServerHandshake::new(greeting(case.greeted), offer(case, keys));
        link.send(&handshake.greeting().encode());
        let step = handshake.feed(&link.receive().unwrap());
        let established = authenticate(&mut link, step, case, keys)?;
        while let Some(payload) = link.receive() {
            match Command::of(&payload) {
                Some(Command::Quit) => break,
                Some(Command::ChangeUser) => {
                    let handshake = ServerHandshake::new(greeting(case.greeted), offer(case, keys));
                    let step = handshake.change_user(&payload, &established.response);
                    authenticate(&mut link, step, case, keys)?;
                }
                _ => link.send(&ok(established.caps)),
            }
        }
        Some(established)
    }

    fn authenticate(
        link: &mut Link<'_>,
        mut step: ServerStep,
        case: Case,
        keys: &Path,
    ) -> Option<Box<Established>> {
        loop {
            step = match step {
                ServerStep::Authenticate(next) => {
                    next.passwords(vec![Secret::new("other"), Secret::new(case.known)])
                }
                ServerStep::Send(payload, next) => {
                    link.send(&payload);
                    next.feed(&link.receive()?)
                }
                ServerStep::Decrypt(text, next) => {
                    let args = ["-decrypt", "-inkey"];
                    next.decrypted(Some(openssl(&args, &keys.join("private.pem"), &text)))
                }
                ServerStep::Done(established) => {
                    if let Some(payload) = &established.before_ok {
                        link.send(payload);
                    }
                    link.send(&ok(established.caps));
                    return Some(established);
                }
                ServerStep::Reject(_) => {
                    let mut out = BytesMut::new();
                    ErrPacket::new(code::ACCESS_DENIED, "no").encode(&mut out);
                    link.send(&out);
                    return None;
                }
                ServerStep::UpgradeTls(_) => panic!("TLS was not offered"),
                ServerStep::Malformed(error) => panic!("{error}"),
            };
        }
    }

    fn offer(case: Case, keys: &Path) -> Offer {
        Offer {
            plugins: vec![case.greeted.into(), NATIVE.into(), SHA2.into()],
            rsa_public_key_pem: Some(std::fs::read(keys.join("public.pem")).unwrap()),
            secure_transport: case.secure,
            force_full: case.force_full,
            ..Offer::default()
        }
    }

    fn ok(caps: Caps) -> BytesMut {
        let mut out = BytesMut::new();
        OkPacket { status: Status::AUTOCOMMIT, ..OkPacket::default() }.encode(0, caps, &mut out);
        out
    }

    /// Runs `client` against our side; whether it got in must be the same on both sides, and right.
    fn meet(case: Case, keys: &Path, client: impl FnOnce(u16) -> Program) -> Option<Box<Established>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        meet_at(&Door::Tcp(listener), case, keys, client(port))
    }

    fn meet_at(door: &Door, case: Case, keys: &Path, mut program: Program) -> Option<Box<Established>> {
        let established = thread::scope(|scope| {
            let server = scope.spawn(|| serve(door, case, keys));
            let output = program.output().unwrap();
            let established = server.join().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(established.is_some(), output.status.success(), "{case:?}: {said}");
            established
        });
        assert_eq!(established.is_some(), case.known == case.given, "{case:?}");
        if let Some(established) = &established {
            assert_eq!(established.response.user, b"ann");
            assert_eq!(established.response.database.as_deref(), Some(&b"d"[..]));
            assert_eq!(established.login.password().unwrap().expose(), case.known.as_bytes());
        }
        established
    }

    fn cases(force_full: &[bool]) -> Vec<Case> {
        let mut all = Vec::new();
        for greeted in [NATIVE, SHA2] {
            for &force_full in force_full {
                for (known, given) in [(PASSWORD, PASSWORD), ("", ""), (PASSWORD, "wrong"), (PASSWORD, "")] {
                    all.push(Case { greeted, force_full, known, given, secure: false });
                }
            }
        }
        all
    }

    /// A key pair, as files.
    fn keys() -> Sandbox {
        let sandbox = Sandbox::new().unwrap();
        let private = sandbox.path().join("private.pem");
        for args in [
            vec!["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"],
            vec!["pkey", "-pubout", "-out", "public.pem", "-in"],
        ] {
            let output =
                Program::new("openssl").current_dir(sandbox.path()).args(args).arg(&private).output();
            assert!(output.unwrap().status.success());
        }
        sandbox
    }

    /// The command-line client of a flavour.
    fn command_line(flavour: Flavour, program: &str, options: &[&str]) {
        if let Readiness::NotCovered(why) = flavour.readiness().unwrap() {
            return not_covered(flavour.name(), &why);
        }
        let keys = keys();
        for case in cases(&[false, true]) {
            let established = meet(case, keys.path(), |port| {
                let mut command = flavour.command(Path::new(program)).unwrap();
                command.args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uann", "-Dd", "-eDO 1"]);
                command.arg(format!("-P{port}")).arg(format!("--password={}", case.given)).args(options);
                command
            });
            if let Some(established) = established {
                let named = |(name, _): &(Vec<u8>, Vec<u8>)| name == b"_client_name";
                assert!(established.response.attributes.iter().any(named));
            }
        }
    }

    #[test]
    fn mariadb_client_of_the_distribution() {
        command_line(Flavour::MariaDbDistribution, "/usr/bin/mariadb", &["--skip-ssl"]);
    }

    #[test]
    fn mariadb_sid_client() {
        command_line(Flavour::MariaDbSid, "/usr/bin/mariadb", &["--skip-ssl"]);
    }

    #[test]
    fn mysql_sid_client() {
        command_line(
            Flavour::MySqlSid,
            "/usr/bin/mysql",
            &["--ssl-mode=DISABLED", "--get-server-public-key"],
        );
    }

    /// Over a unix socket nobody can listen, and the full exchange has the password in clear.
    fn over_a_socket(flavour: Flavour, program: &str, options: &[&str]) {
        if let Readiness::NotCovered(why) = flavour.readiness().unwrap() {
            return not_covered(flavour.name(), &why);
        }
        let keys = keys();
        let path = keys.path().join("door.sock");
        let door = Door::Unix(UnixListener::bind(&path).unwrap());
        for case in cases(&[false, true]) {
            let case = Case { secure: true, ..case };
            let mut command = flavour.command(Path::new(program)).unwrap();
            command.args(["--no-defaults", "--protocol=socket", "-uann", "-Dd", "-eDO 1"]).args(options);
            command.arg(format!("--socket={}", path.display())).arg(format!("--password={}", case.given));
            meet_at(&door, case, keys.path(), command);
        }
    }

    #[test]
    fn mariadb_client_of_the_distribution_over_a_socket() {
        over_a_socket(Flavour::MariaDbDistribution, "/usr/bin/mariadb", &["--skip-ssl"]);
    }

    #[test]
    fn mysql_sid_client_over_a_socket() {
        over_a_socket(Flavour::MySqlSid, "/usr/bin/mysql", &["--ssl-mode=DISABLED"]);
    }

    /// mysqlnd, the client that Drupal sits on.
    #[test]
    fn php() {
        if Program::new("php").args(["-r", "new mysqli();"]).output().is_err() {
            return not_covered("php", "it is not installed");
        }
        let keys = keys();
        let script = "mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
            $db = new mysqli('127.0.0.1', 'ann', $argv[2], 'd', (int)$argv[1]); $db->query('DO 1');
            $db->change_user('ann', $argv[2], 'd'); $db->query('DO 1');";
        for case in cases(&[false, true]) {
            meet(case, keys.path(), |port| {
                let mut command = Program::new("php");
                command.args(["-r", script, "--", &port.to_string(), case.given]);
                command
            });
        }
    }

    /// MySQL has nobody cached after its start, and no TLS is used: the password goes encrypted, and then scrambled.
    #[test]
    fn mysql_gets_the_password_encrypted() {
        let flavour = Flavour::MySqlSid;
        if let Readiness::NotCovered(why) = flavour.readiness().unwrap() {
            return not_covered(flavour.name(), &why);
        }
        let cluster =
            Cluster::start(flavour, ClusterOptions { replicas: 0, ..ClusterOptions::default() }).unwrap();
        let files = Sandbox::new().unwrap();
        for (password, expected) in
            [("wrong", Err(1045)), (APP_PASSWORD, Ok(true)), (APP_PASSWORD, Ok(false)), ("wrong", Err(1045))]
        {
            assert_eq!(log_in(&cluster, files.path(), password), expected);
        }
    }

    /// Logs in over TCP without TLS. Whether the password had to be encrypted, or the error.
    fn log_in(cluster: &Cluster, files: &Path, password: &str) -> Result<bool, u16> {
        let mut stream = TcpStream::connect(cluster.primary.address()).unwrap();
        let mut link = Link { stream: &mut stream, buf: BytesMut::new(), seq: 0 };
        let config = ClientConfig {
            user: APP_USER.into(),
            login: Login::Password(Secret::new(password)),
            caps: Caps::LONG_PASSWORD | Caps::TRANSACTIONS,
            charset: 45,
            max_packet: 1 << 24,
            ..ClientConfig::default()
        };
        let mut encrypted = false;
        let mut step = ClientHandshake::new(config).greeting(&link.receive().unwrap()).unwrap();
        loop {
            let next = match step {
                ClientStep::Send(payload, next) => {
                    link.send(&payload);
                    next
                }
                ClientStep::Read(next) => next,
                ClientStep::Encrypt { public_key_pem, xored_password, next } => {
                    let key = files.join("server.pem");
                    std::fs::write(&key, public_key_pem).unwrap();
                    encrypted = true;
                    step = next.encrypted(&openssl(&["-encrypt", "-pubin", "-inkey"], &key, &xored_password));
                    continue;
                }
                ClientStep::Done(_) => return Ok(encrypted),
                ClientStep::Refused(error) => return Err(error.code),
                ClientStep::UpgradeTls(..) => panic!("TLS was not asked for"),
            };
            step = next.feed(&link.receive().unwrap()).unwrap();
        }
    }
}
