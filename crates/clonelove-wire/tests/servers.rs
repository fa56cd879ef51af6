//! Real servers' replies, followed: every command, under every capability that changes a reply's shape.
//!
//! After each command a COM_PING is answered by an OK packet, or the reply was not followed to its end.

#[cfg(test)]
mod servers {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use bytes::{Buf, BufMut, BytesMut};
    use clonelove_testkit::{
        APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Family, Flavour, Readiness, not_covered,
    };
    use clonelove_wire::auth::Login;
    use clonelove_wire::frame::{Look, look_packet, write_packet};
    use clonelove_wire::handshake::client::{
        ClientConfig, ClientExchange, ClientHandshake, ClientStep, Session,
    };
    use clonelove_wire::packet::ok::Ok as OkPacket;
    use clonelove_wire::packet::prepare::PrepareOk;
    use clonelove_wire::reply::{Event, ReplyTracker, Then};
    use clonelove_wire::track::Change;
    use clonelove_wire::{Caps, Command, Secret, Status};

    const MAX_FRAME: usize = 0xFF_FFFF;

    /// A connection to a real server, by our own handshake.
    struct Wire {
        stream: UnixStream,
        buf: BytesMut,
        session: Session,
    }

    /// A reply as it came, with what the tracker saw in it.
    struct Reply {
        bytes: BytesMut,
        events: Vec<(Event, Vec<u8>)>,
    }

    impl Reply {
        fn last(&self) -> &Event {
            &self.events.last().unwrap().0
        }

        fn payload(&self) -> &[u8] {
            &self.events.last().unwrap().1
        }

        fn is_ok(&self) -> bool {
            matches!(self.last(), Event::Ok { .. } | Event::Eof { .. })
        }

        fn code(&self) -> u16 {
            match self.last() {
                Event::Err { code, .. } => *code,
                _ => 0,
            }
        }
    }

    fn config(caps: Caps) -> ClientConfig {
        ClientConfig {
            user: APP_USER.into(),
            login: Login::Password(Secret::new(APP_PASSWORD)),
            database: Some(b"app".to_vec()),
            caps,
            charset: 45,
            attributes: vec![(b"program_name".to_vec(), b"test".to_vec())],
            max_packet: 1 << 30,
            secure_transport: true,
            ..ClientConfig::default()
        }
    }

    impl Wire {
        fn connect(cluster: &Cluster, caps: Caps) -> Wire {
            let stream = UnixStream::connect(cluster.primary.socket()).unwrap();
            let mut link = Link { stream, buf: BytesMut::new(), seq: 0 };
            let greeting = link.receive();
            let step = ClientHandshake::new(config(caps)).greeting(&greeting).unwrap();
            let session = link.log_in(step);
            Wire { stream: link.stream, buf: link.buf, session }
        }

        /// Sends a command and follows its reply. `file` is the content for a LOAD DATA LOCAL INFILE.
        fn run(&mut self, payload: &[u8], file: &[u8]) -> Reply {
            let mut out = BytesMut::new();
            let next = write_packet(&mut out, 0, payload);
            self.stream.write_all(&out).unwrap();
            let mut tracker = ReplyTracker::new(Command::of(payload).unwrap(), self.session.caps);
            tracker.expect_sequence(next);
            let mut reply = Reply { bytes: BytesMut::new(), events: Vec::new() };
            loop {
                let scan = tracker.scan(&self.buf).unwrap();
                reply.bytes.extend_from_slice(&self.buf[..scan.pass]);
                self.buf.advance(scan.pass);
                match scan.then {
                    Then::End => return reply,
                    Then::Event { event, used } => {
                        let frame = self.buf.split_to(used);
                        reply.bytes.extend_from_slice(&frame);
                        reply.events.push((event, frame[4..].to_vec()));
                        if event.ends() {
                            return reply;
                        }
                        if event == Event::LocalInfile {
                            let mut out = BytesMut::new();
                            // An empty packet ends the file.
                            let mut next = tracker.sequence();
                            if !file.is_empty() {
                                next = write_packet(&mut out, next, file);
                            }
                            let next = write_packet(&mut out, next, b"");
                            self.stream.write_all(&out).unwrap();
                            tracker.expect_sequence(next);
                        }
                    }
                    Then::More | Then::NeedWhole(_) => read(&mut self.stream, &mut self.buf),
                }
            }
        }

        /// As [`Wire::run`], and then a ping.
        fn command(&mut self, payload: &[u8]) -> Reply {
            self.command_with(payload, b"")
        }

        fn command_with(&mut self, payload: &[u8], file: &[u8]) -> Reply {
            let reply = self.run(payload, file);
            let shown = String::from_utf8_lossy(&payload[..payload.len().min(80)]).into_owned();
            assert!(
                self.buf.is_empty(),
                "more came than the reply to {shown:?}: {:?} {:?}",
                self.buf,
                self.session.caps
            );
            self.recut(payload, &reply);
            let ping = self.run(&[0x0E], b"");
            assert!(matches!(ping.last(), Event::Ok { head: 0, .. }), "after {shown:?}: {:?}", ping.last());
            reply
        }

        /// The same reply, in small pieces: the same must be seen in it.
        fn recut(&self, payload: &[u8], reply: &Reply) {
            if reply.events.iter().any(|(event, _)| *event == Event::LocalInfile) {
                return;
            }
            let step = reply.bytes.len() / 2000 + 1;
            let mut tracker = ReplyTracker::new(Command::of(payload).unwrap(), self.session.caps);
            let next = u8::try_from(payload.len() / MAX_FRAME + 1).unwrap();
            tracker.expect_sequence(next);
            let (mut from, mut to, mut events) = (0, 0, Vec::new());
            loop {
                let scan = tracker.scan(&reply.bytes[from..to]).unwrap();
                from += scan.pass;
                match scan.then {
                    Then::End => break,
                    Then::Event { event, used } => {
                        events.push(event);
                        from += used;
                        if event.ends() {
                            break;
                        }
                    }
                    Then::More | Then::NeedWhole(_) => to = (to + step).min(reply.bytes.len()),
                }
            }
            assert_eq!(from, reply.bytes.len());
            assert_eq!(events, reply.events.iter().map(|(event, _)| *event).collect::<Vec<_>>());
        }

        fn query(&mut self, sql: &str) -> Reply {
            let payload = self.query_payload(sql);
            self.command(&payload)
        }

        fn query_payload(&self, sql: &str) -> Vec<u8> {
            let attributes: &[u8] =
                if self.session.caps.contains(Caps::QUERY_ATTRIBUTES) { &[0, 1] } else { &[] };
            [&[3], attributes, sql.as_bytes()].concat()
        }

        fn prepare(&mut self, sql: &str) -> (PrepareOk, Reply) {
            let reply = self.command(&[&[0x16], sql.as_bytes()].concat());
            match reply.events.first() {
                Some((Event::PrepareOk { prepared, .. }, _)) => (*prepared, reply),
                other => panic!("{other:?}"),
            }
        }

        fn execute(&mut self, id: u32, cursor: bool) -> Reply {
            let mut payload = vec![0x17];
            payload.put_u32_le(id);
            payload.put_u8(cursor.into());
            payload.put_u32_le(1);
            self.command(&payload)
        }
    }

    struct Link {
        stream: UnixStream,
        buf: BytesMut,
        /// The next sequence number.
        seq: u8,
    }

    impl Link {
        fn receive(&mut self) -> Vec<u8> {
            loop {
                if let Look::Packet { payload, used, seq_last, .. } =
                    look_packet(&self.buf, Some(self.seq), 1 << 20)
                {
                    let payload = payload.into_owned();
                    self.seq = seq_last.wrapping_add(1);
                    self.buf.advance(used);
                    return payload;
                }
                read(&mut self.stream, &mut self.buf);
            }
        }

        fn send(&mut self, payload: &[u8]) {
            let mut out = BytesMut::new();
            self.seq = write_packet(&mut out, self.seq, payload);
            self.stream.write_all(&out).unwrap();
        }

        fn log_in(&mut self, mut step: ClientStep) -> Session {
            loop {
                let next: ClientExchange = match step {
                    ClientStep::Send(payload, next) => {
                        self.send(&payload);
                        next
                    }
                    ClientStep::Read(next) => next,
                    ClientStep::Done(session) => return *session,
                    ClientStep::Refused(error) => panic!("refused: {error}"),
                    ClientStep::Encrypt { .. } | ClientStep::UpgradeTls(..) => {
                        panic!("not over a unix socket")
                    }
                };
                step = next.feed(&self.receive()).unwrap();
            }
        }
    }

    fn read(stream: &mut UnixStream, buf: &mut BytesMut) {
        let mut piece = [0; 1 << 16];
        let len = stream.read(&mut piece).unwrap();
        assert_ne!(len, 0, "the server closed the connection");
        buf.extend_from_slice(&piece[..len]);
    }

    fn cluster(flavour: Flavour) -> Option<Cluster> {
        if let Readiness::NotCovered(why) = flavour.readiness().unwrap() {
            not_covered(flavour.name(), &why);
            return None;
        }
        let extra = vec!["--local-infile=1".to_owned(), "--max-allowed-packet=64M".to_owned()];
        Some(
            Cluster::start(flavour, ClusterOptions { replicas: 0, extra, ..ClusterOptions::default() })
                .unwrap(),
        )
    }

    /// Every combination of the capabilities that change a reply's shape.
    fn shapes(family: Family) -> Vec<Caps> {
        let base = Caps::LONG_PASSWORD
            | Caps::LONG_FLAG
            | Caps::LOCAL_FILES
            | Caps::MULTI_STATEMENTS
            | Caps::MULTI_RESULTS
            | Caps::PS_MULTI_RESULTS
            | Caps::TRANSACTIONS
            | Caps::CONNECT_ATTRS;
        let optional = match family {
            Family::MariaDb => Caps::CACHE_METADATA | Caps::STMT_BULK | Caps::EXTENDED_TYPES | Caps::PROGRESS,
            Family::MySql => Caps::OPTIONAL_RESULTSET_METADATA | Caps::QUERY_ATTRIBUTES,
        };
        let mut all = vec![base];
        for flag in [Caps::SESSION_TRACK, Caps::DEPRECATE_EOF, optional] {
            all.extend(all.clone().into_iter().map(|caps| caps | flag));
        }
        all
    }

    fn set_up(wire: &mut Wire) {
        for sql in [
            "DROP TABLE IF EXISTS t",
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100)) ENGINE=InnoDB",
            "DROP PROCEDURE IF EXISTS p",
            "CREATE PROCEDURE p(OUT n INT) BEGIN SELECT 1; SELECT id FROM t; SET n = 5; UPDATE t SET v = 'y' WHERE id = 1; END",
        ] {
            assert!(wire.query(sql).is_ok(), "{sql}");
        }
        let values = vec!["('x')"; 1000].join(",");
        let inserted = wire.query(&format!("INSERT INTO t (v) VALUES {values}"));
        let ok = OkPacket::parse(inserted.payload(), wire.session.caps).unwrap();
        assert_eq!((ok.affected, ok.insert_id), (1000, 1));
        assert_eq!(ok.info, b"Records: 1000  Duplicates: 0  Warnings: 0");
    }

    fn queries(wire: &mut Wire, family: Family) {
        let eofs = !wire.session.caps.contains(Caps::DEPRECATE_EOF);
        assert_eq!(wire.query("SELECT 1").events.len(), if eofs { 2 } else { 1 });
        assert!(
            wire.query("SELECT NULL, '', 'x' UNION ALL SELECT REPEAT('y', 300), REPEAT('z', 70000), NULL")
                .is_ok()
        );
        assert!(wire.query("SELECT * FROM t").bytes.len() > 8000);
        assert!(wire.query("SELECT * FROM t WHERE id < 0").is_ok());
        assert_eq!(wire.query("SELEC").code(), 1064);
        assert_eq!(wire.query("SELECT * FROM nowhere").code(), 1146);
        // It fails among the rows.
        let failed = wire.query("SELECT IF(id = 900, (SELECT 1 UNION SELECT 2), REPEAT(v, 100)) FROM t");
        assert_eq!(failed.code(), 1242);
        assert!(failed.bytes.len() > 10_000);
        let many = wire.query("SELECT 1; UPDATE t SET v = 'z' WHERE id = 2; SELECT 2, 3; DO 1");
        assert_eq!(many.events.iter().filter(|(event, _)| event.ends()).count(), 1);
        assert_eq!(many.events.len(), if eofs { 6 } else { 4 });
        assert_eq!(wire.query("SELECT 1; SELEC; SELECT 2").code(), 1064);
        let called = wire.query("CALL p(@n)");
        assert_eq!(called.events.len(), if eofs { 5 } else { 3 });
        let matched = wire.query("UPDATE t SET v = 'w' WHERE id = 3");
        let ok = OkPacket::parse(matched.payload(), wire.session.caps).unwrap();
        assert_eq!(ok.info, b"Rows matched: 1  Changed: 1  Warnings: 0");
        let begun = wire.query("BEGIN");
        assert!(matches!(begun.last(), Event::Ok { status, .. } if status.contains(Status::IN_TRANS)));
        assert!(wire.query("ROLLBACK").is_ok());
        if family == Family::MariaDb {
            assert!(wire.query("INSERT INTO t (v) VALUES ('r') RETURNING id").is_ok());
        }
    }

    /// Rows and commands around the size of the longest frame.
    fn big(wire: &mut Wire) {
        for len in [MAX_FRAME - 5, MAX_FRAME - 4, MAX_FRAME - 3, MAX_FRAME, MAX_FRAME + 1, 2 * MAX_FRAME] {
            let reply = wire.query(&format!("SELECT REPEAT('x', {len})"));
            assert!(reply.is_ok() && reply.bytes.len() > len);
        }
        for len in [MAX_FRAME - 20, MAX_FRAME - 13, MAX_FRAME, MAX_FRAME + 100] {
            let text = "x".repeat(len);
            assert!(wire.query(&format!("SELECT LENGTH('{text}')")).is_ok(), "{len}");
        }
        let (prepared, _) = wire.prepare(&format!("SELECT REPEAT('x', {})", MAX_FRAME + 10));
        assert!(wire.execute(prepared.statement_id, false).is_ok());
    }

    fn files(wire: &mut Wire) {
        let load = wire.query_payload("LOAD DATA LOCAL INFILE 'x' INTO TABLE t (v)");
        let loaded = wire.command_with(&load, b"a\nb\nc\n");
        assert_eq!(loaded.events[0].0, Event::LocalInfile);
        // MariaDB reports its progress here to whoever negotiated that.
        let reported = loaded.events.iter().any(|(event, _)| *event == Event::Progress);
        assert_eq!(reported, wire.session.caps.contains(Caps::PROGRESS));
        let ok = OkPacket::parse(loaded.payload(), wire.session.caps).unwrap();
        assert_eq!(ok.affected, 3);
        let load = wire.query_payload("LOAD DATA LOCAL INFILE 'x' INTO TABLE t (v); SELECT 1");
        assert!(wire.command_with(&load, b"").is_ok());
    }

    fn commands(wire: &mut Wire, family: Family) {
        assert!(wire.command(b"\x02app").is_ok(), "COM_INIT_DB");
        assert_eq!(wire.command(b"\x02nowhere").code(), 1044, "COM_INIT_DB");
        assert!(wire.command(&[0x09]).bytes.windows(6).any(|text| text == b"Uptime"), "COM_STATISTICS");
        assert!(wire.command(&[0x0E]).is_ok(), "COM_PING");
        let listed = wire.command(b"\x04t\0");
        assert!(listed.is_ok() || family == Family::MySql, "COM_FIELD_LIST");
        for command in [[0x0A, 0], [0x0D, 0]] {
            wire.command(&command[..1]);
        }
        assert!(wire.command(&[0x1B, 0, 0]).is_ok(), "COM_SET_OPTION");
        assert_ne!(wire.command(&[0x7F]).code(), 0, "no command");
        assert!(wire.command(&[0x1F]).is_ok(), "COM_RESET_CONNECTION");
    }

    fn prepared(wire: &mut Wire, family: Family) {
        for (sql, params, columns) in [
            ("DO 1", 0, 0),
            ("SELECT id, v FROM t", 0, 2),
            ("UPDATE t SET v = ? WHERE id = ?", 2, 0),
            ("SELECT ?, id FROM t WHERE v = ?", 2, 2),
        ] {
            let (prepared, _) = wire.prepare(sql);
            assert_eq!((prepared.params, prepared.columns), (params, columns), "{sql}");
        }
        assert_eq!(wire.command(b"\x16SELEC").code(), 1064);
        let (prepared, _) = wire.prepare("SELECT id, v FROM t");
        let id = prepared.statement_id;
        // MariaDB leaves out the definitions that the client has from COM_STMT_PREPARE.
        let defined = wire.execute(id, false).bytes.windows(4).any(|text| text == b"\x03def");
        assert_eq!(defined, !wire.session.caps.contains(Caps::CACHE_METADATA));
        cursor(wire, id);
        let (called, _) = wire.prepare("CALL p(@n)");
        assert!(wire.execute(called.statement_id, false).is_ok());
        assert!(wire.command(&with_id(0x1A, id, &[])).is_ok(), "COM_STMT_RESET");
        let (long, _) = wire.prepare("SELECT LENGTH(?)");
        assert_eq!(wire.command(&with_id(0x18, long.statement_id, &[0, 0, 7])).events.len(), 0);
        assert_eq!(wire.command(&with_id(0x19, long.statement_id, &[])).events.len(), 0);
        assert_eq!(wire.execute(long.statement_id, false).code(), 1243);
        if family == Family::MariaDb && wire.session.caps.contains(Caps::STMT_BULK) {
            let (insert, _) = wire.prepare("INSERT INTO t (v) VALUES (?)");
            // Send types; one VARCHAR; two rows, each with its indicator.
            let bulk = [&[0x80, 0x00][..], &[0xFD, 0x00], b"\0\x01a", b"\0\x01b"].concat();
            let reply = wire.command(&with_id(0xFA, insert.statement_id, &bulk));
            assert!(reply.is_ok(), "{:?}", reply.last());
        }
    }

    fn cursor(wire: &mut Wire, id: u32) {
        let opened = wire.execute(id, true);
        let status = match opened.last() {
            Event::Ok { status, .. } | Event::Eof { status, .. } => *status,
            other => panic!("{other:?}"),
        };
        assert!(status.contains(Status::CURSOR_EXISTS));
        for _ in 0..50 {
            let fetched = wire.command(&with_id(0x1C, id, &300_u32.to_le_bytes()));
            match fetched.last() {
                Event::Ok { status, .. } | Event::Eof { status, .. } => {
                    if status.contains(Status::LAST_ROW_SENT) {
                        return;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("the cursor has no end");
    }

    fn with_id(command: u8, id: u32, rest: &[u8]) -> Vec<u8> {
        [&[command][..], &id.to_le_bytes(), rest].concat()
    }

    /// The definitions left out on request (MySQL).
    fn without_definitions(wire: &mut Wire) {
        assert!(wire.query("SET resultset_metadata = NONE").is_ok());
        assert!(wire.query("SELECT 1, 2").is_ok());
        assert!(wire.query("SELECT * FROM t WHERE id < 0; SELECT 1; DO 1").is_ok());
        let (prepared, _) = wire.prepare("SELECT id, ? FROM t WHERE v = ?");
        assert!(!prepared.definitions);
        let (prepared, _) = wire.prepare("SELECT id FROM t");
        assert!(wire.execute(prepared.statement_id, false).is_ok());
        cursor(wire, prepared.statement_id);
        assert!(wire.query("SET resultset_metadata = FULL").is_ok());
    }

    fn tracked(wire: &mut Wire) {
        let reply = wire.query("USE app");
        let ok = OkPacket::parse(reply.payload(), wire.session.caps).unwrap();
        let schema = ok.changes().any(|change| change == Ok(Change::Schema(b"app")));
        assert_eq!(schema, wire.session.caps.contains(Caps::SESSION_TRACK));
        let reply = wire.query("SET autocommit = 0");
        let ok = OkPacket::parse(reply.payload(), wire.session.caps).unwrap();
        let change = Change::Variable { name: b"autocommit", value: b"OFF" };
        assert_eq!(ok.changes().any(|found| found == Ok(change)), schema);
        wire.query("SET autocommit = 1");
    }

    /// COM_CHANGE_USER, twice: to the same user, and with a wrong password.
    fn change_user(cluster: &Cluster, caps: Caps) {
        for (password, gets_in) in [(APP_PASSWORD, true), ("wrong", false)] {
            let wire = Wire::connect(cluster, caps);
            let config = ClientConfig { login: Login::Password(Secret::new(password)), ..config(caps) };
            let (payload, mut client) = ClientExchange::change_user(wire.session, config);
            let mut link = Link { stream: wire.stream, buf: wire.buf, seq: 0 };
            link.send(&payload);
            let mut tracker = ReplyTracker::new(Command::ChangeUser, caps);
            let mut frame = BytesMut::new();
            loop {
                tracker.expect_sequence(link.seq);
                let payload = link.receive();
                frame.clear();
                write_packet(&mut frame, tracker.sequence(), &payload);
                let Then::Event { event, .. } = tracker.scan(&frame).unwrap().then else {
                    panic!("no event");
                };
                client = match client.feed(&payload).unwrap() {
                    ClientStep::Send(reply, next) => {
                        assert!(matches!(event, Event::AuthSwitch | Event::AuthMore));
                        link.send(&reply);
                        next
                    }
                    ClientStep::Read(next) => next,
                    ClientStep::Done(_) => {
                        assert!(gets_in && event.ends());
                        break;
                    }
                    ClientStep::Refused(error) => {
                        assert!(!gets_in && event.ends() && error.code == 1045, "{error}");
                        break;
                    }
                    _ => panic!("not over a unix socket"),
                };
            }
        }
    }

    fn every_reply_is_followed(flavour: Flavour) {
        let Some(cluster) = cluster(flavour) else { return };
        let family = flavour.family();
        for (index, caps) in shapes(family).into_iter().enumerate() {
            let mut wire = Wire::connect(&cluster, caps);
            let missing = caps.difference(wire.session.caps | Caps::CLIENT_MYSQL);
            if !missing.is_empty() {
                not_covered(flavour.name(), &format!("the server does not offer {missing:?}"));
            }
            set_up(&mut wire);
            tracked(&mut wire);
            queries(&mut wire, family);
            files(&mut wire);
            prepared(&mut wire, family);
            if wire.session.caps.contains(Caps::OPTIONAL_RESULTSET_METADATA) {
                without_definitions(&mut wire);
            }
            if index % 4 == 0 {
                big(&mut wire);
            }
            commands(&mut wire, family);
            change_user(&cluster, caps);
        }
    }

    #[test]
    fn mariadb_of_the_distribution() {
        every_reply_is_followed(Flavour::MariaDbDistribution);
    }

    #[test]
    fn mariadb_sid() {
        every_reply_is_followed(Flavour::MariaDbSid);
    }

    #[test]
    fn mysql_sid() {
        every_reply_is_followed(Flavour::MySqlSid);
    }
}
