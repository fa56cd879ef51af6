// The suite with MariaDB's driver for Java: text and server-side prepares, batches, callable statements, generated keys.

import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.*;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public final class Suite {
    private static final String USER = System.getenv("CLIENT_USER");
    private static final String PASSWORD = System.getenv("CLIENT_PASSWORD");
    private static final boolean MARIADB = System.getenv("CLIENT_FAMILY").equals("mariadb");

    private interface Act {
        Object run() throws Exception;
    }

    private static Connection connect(String user, String password, String schema, String more) throws SQLException {
        String url = "jdbc:mariadb://" + System.getenv("CLIENT_HOST") + ":" + System.getenv("CLIENT_PORT") + "/" + schema
            + "?allowPublicKeyRetrieval=true&connectTimeout=30000" + more;
        return DriverManager.getConnection(url, user, password);
    }

    private static void show(String what, Object value) {
        System.out.println(what + ": " + value);
    }

    private static void attempt(String what, Act act) throws Exception {
        try {
            show(what, act.run());
        } catch (BatchUpdateException error) {
            show(what, error.getErrorCode() + " " + error.getSQLState() + " " + error.getUpdateCounts().length);
        } catch (SQLException error) {
            // The driver puts the port and the server's number of the connection before the server's words.
            String message = String.valueOf(error.getMessage()).replaceAll("(conn|port)[:=]\\d+", "$1");
            show(what, error.getErrorCode() + " " + error.getSQLState() + " " + message);
        }
    }

    private static String digest(byte[] bytes) throws Exception {
        StringBuilder text = new StringBuilder(bytes.length + " bytes ");
        byte[] shown = bytes.length > 200 ? MessageDigest.getInstance("SHA-1").digest(bytes) : bytes;
        for (byte one : shown) text.append(String.format("%02x", one));
        return text.toString();
    }

    private static String rows(ResultSet rows) throws Exception {
        ResultSetMetaData meta = rows.getMetaData();
        StringBuilder text = new StringBuilder();
        for (int i = 1; i <= meta.getColumnCount(); i++) {
            text.append(meta.getColumnLabel(i)).append(' ').append(meta.getColumnName(i)).append(' ').append(meta.getTableName(i)).append(' ')
                .append(meta.getColumnTypeName(i)).append(' ').append(meta.getPrecision(i)).append(' ').append(meta.getScale(i)).append(' ')
                .append(meta.isNullable(i)).append(' ').append(meta.isSigned(i)).append(' ').append(meta.isAutoIncrement(i)).append("; ");
        }
        while (rows.next()) {
            text.append('(');
            for (int i = 1; i <= meta.getColumnCount(); i++) {
                Object value = rows.getObject(i);
                text.append(value == null ? "null" : value instanceof byte[] ? digest((byte[]) value)
                    : value instanceof Blob ? digest(((Blob) value).getBytes(1, (int) ((Blob) value).length())) : value.getClass().getSimpleName() + " " + value);
                text.append(", ");
            }
            text.append(')');
        }
        rows.close();
        return text.toString();
    }

    /// All results of a statement, with warnings and keys.
    private static String all(Statement statement, boolean isRows) throws Exception {
        StringBuilder text = new StringBuilder();
        while (true) {
            if (isRows) {
                text.append(rows(statement.getResultSet()));
            } else {
                if (statement.getUpdateCount() == -1) break;
                text.append(statement.getUpdateCount()).append(" changed, ");
            }
            for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
                text.append("warning ").append(warning.getErrorCode()).append(' ').append(warning.getMessage()).append(", ");
            }
            isRows = statement.getMoreResults();
        }
        return text.toString();
    }

    private static String text(Connection db, String sql) throws Exception {
        try (Statement statement = db.createStatement()) {
            boolean isRows = statement.execute(sql, Statement.RETURN_GENERATED_KEYS);
            String keys = isRows ? "" : " keys " + rows(statement.getGeneratedKeys());
            return all(statement, isRows) + keys;
        }
    }

    private static String bound(Connection db, String sql, Object... values) throws Exception {
        try (PreparedStatement statement = db.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
            boolean isRows = statement.execute();
            String keys = isRows ? "" : " keys " + rows(statement.getGeneratedKeys());
            return all(statement, isRows) + keys;
        }
    }

    /// The strings of an array in the suite's JSON, or the values of an object.
    private static List<String> strings(String json, String name) {
        int at = json.indexOf("\"" + name + "\":");
        boolean list = json.charAt(json.indexOf(':', at) + 2) == '[';
        int end = json.indexOf(list ? "\n  ]" : "\n  }", at);
        String part = json.substring(json.indexOf(list ? '[' : '{', at) + 1, end < 0 || name.equals("words") ? json.indexOf(']', at) : end);
        List<String> found = new ArrayList<>();
        Matcher matcher = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"(\\s*:)?").matcher(part);
        while (matcher.find()) {
            if (matcher.group(2) == null) found.add(unescaped(matcher.group(1)));
        }
        return found;
    }

    private static String unescaped(String text) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c != '\\') {
                out.append(c);
            } else if (text.charAt(++i) == 'u') {
                out.append((char) Integer.parseInt(text.substring(i + 1, i + 5), 16));
                i += 4;
            } else {
                out.append(text.charAt(i));
            }
        }
        return out.toString();
    }

    private static void parameters(Connection db) throws Exception {
        text(db, "DROP TABLE IF EXISTS bound");
        text(db, "CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), da DATE, ti TIME, yes BOOLEAN, de DECIMAL(20,6), j JSON)");
        String insert = "INSERT INTO bound (i, u, d, t, b, at, da, ti, yes, de, j) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        Object[][] sets = {
            {Long.MIN_VALUE, new java.math.BigInteger("18446744073709551615"), 2.25, "Zürich 😀", new byte[] {0, 1, -1}, Timestamp.valueOf("2026-02-28 12:34:56.123456"), Date.valueOf("2026-02-28"), Time.valueOf("12:34:56"), true, new java.math.BigDecimal("12345678901234.123456"), "{\"a\": [1]}"},
            {null, null, null, null, null, null, null, null, null, null, null},
            {7, (short) 7, -1.5e300, "", new byte[0], java.time.LocalDateTime.of(2000, 1, 1, 0, 0), Date.valueOf("1000-01-01"), Time.valueOf("00:00:00"), false, 2.5f, "null"},
        };
        for (Object[] values : sets) attempt("inserted", () -> bound(db, insert, values));
        try (PreparedStatement batch = db.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            for (int n = 0; n < 60; n++) {
                Object[] values = sets[n % sets.length];
                for (int i = 0; i < values.length; i++) batch.setObject(i + 1, values[i]);
                batch.addBatch();
            }
            attempt("a batch", () -> java.util.Arrays.toString(batch.executeBatch()));
            attempt("its keys", () -> rows(batch.getGeneratedKeys()));
        }
        try (Statement batch = db.createStatement()) {
            for (String sql : new String[] {"INSERT INTO account VALUES (50, 1)", "UPDATE account SET amount = 2 WHERE id = 50", "INSERT INTO account VALUES (50, 3)", "DELETE FROM account WHERE id = 50"}) batch.addBatch(sql);
            attempt("a batch with a fault", () -> java.util.Arrays.toString(batch.executeBatch()));
        }
        text(db, "DELETE FROM account");
        attempt("what was bound", () -> bound(db, "SELECT * FROM bound WHERE id >= ? ORDER BY id LIMIT ?", 1, 10));
        try (PreparedStatement find = db.prepareStatement("SELECT id, t FROM bound WHERE i = ? OR t = ? ORDER BY id LIMIT 5")) {
            for (Object[] values : new Object[][] {{7, "Zürich 😀"}, {null, null}, {"8", ""}, {7.0, "no"}}) {
                find.setObject(1, values[0]);
                find.setObject(2, values[1]);
                show("found", rows(find.executeQuery()));
            }
        }
        attempt("not to be prepared", () -> bound(db, "SELEKT ?", 1));
        attempt("fetched by twos", () -> {
            try (PreparedStatement few = db.prepareStatement("SELECT d FROM digit ORDER BY d")) {
                few.setFetchSize(2);
                return rows(few.executeQuery());
            }
        });
    }

    private static void session(Connection db) throws Exception {
        text(db, "DELETE FROM account");
        text(db, "INSERT INTO account VALUES (1, 100), (2, 200)");
        db.setAutoCommit(false);
        show("less", bound(db, "UPDATE account SET amount = amount - ? WHERE id = 1", 10));
        Savepoint one = db.setSavepoint("one");
        show("nothing", text(db, "UPDATE account SET amount = 0"));
        show("within", bound(db, "SELECT * FROM account WHERE id > ? ORDER BY id", 0));
        db.rollback(one);
        attempt("a fault within", () -> text(db, "INSERT INTO account VALUES (1, 1)"));
        db.commit();
        text(db, "DELETE FROM account");
        db.rollback();
        db.setAutoCommit(true);
        show("afterwards", text(db, "SELECT * FROM account ORDER BY id"));
        for (int isolation : new int[] {Connection.TRANSACTION_READ_COMMITTED, Connection.TRANSACTION_SERIALIZABLE, Connection.TRANSACTION_REPEATABLE_READ}) {
            db.setTransactionIsolation(isolation);
            show("isolation", db.getTransactionIsolation() + " " + text(db, "SELECT COUNT(*) FROM account"));
        }
        db.setReadOnly(true);
        show("read only", text(db, "SELECT COUNT(*) FROM account"));
        db.setReadOnly(false);
        db.setCatalog("test");
        show("another schema", db.getCatalog() + " " + text(db, "SELECT DATABASE()"));
        attempt("no such schema", () -> { db.setCatalog("no_such_schema"); return null; });
        db.setCatalog("app");
        for (String sql : new String[] {
            "SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'", "SELECT \"id\", 'a' || 'b' AS ab, ts FROM \"kinds\" ORDER BY \"id\"",
            "SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'", "INSERT INTO words (word) VALUES ('last')",
            "SELECT LAST_INSERT_ID()", "UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3", "SELECT ROW_COUNT()",
            "SELECT SQL_CALC_FOUND_ROWS d FROM digit ORDER BY d LIMIT 4", "SELECT FOUND_ROWS()", "SELECT 1/0, CAST('7x' AS SIGNED)",
            "SET @one = 1", "SELECT @one", "CREATE TEMPORARY TABLE passing AS SELECT d FROM digit", "SELECT SUM(d) FROM passing", "DROP TEMPORARY TABLE passing",
        }) attempt(sql, () -> text(db, sql));
        try (CallableStatement call = db.prepareCall("{CALL two_results(?)}")) {
            call.setInt(1, 7);
            show("the procedure", all(call, call.execute()));
        }
        text(db, "DROP PROCEDURE IF EXISTS out_of");
        text(db, "CREATE PROCEDURE out_of(IN a INT, INOUT b INT, OUT c VARCHAR(20)) BEGIN SET b = a + b; SET c = CONCAT('it is ', b); END");
        try (CallableStatement call = db.prepareCall("{CALL out_of(?, ?, ?)}")) {
            call.setInt(1, 7);
            call.setInt(2, 8);
            call.registerOutParameter(2, Types.INTEGER);
            call.registerOutParameter(3, Types.VARCHAR);
            call.execute();
            show("out of it", call.getInt(2) + " " + call.getString(3));
        }
        show("valid", db.isValid(10));
        DatabaseMetaData meta = db.getMetaData();
        show("product", meta.getDatabaseProductName() + " " + meta.getDatabaseProductVersion());
        show("tables", rows(meta.getTables("app", null, "%", new String[] {"TABLE"})));
        show("keys", rows(meta.getPrimaryKeys("app", null, "words")));
    }

    private static void suite(String json, String more) throws Exception {
        show("with", more);
        try (Connection db = connect(USER, PASSWORD, "app", more)) {
            for (String sql : strings(json, "setup")) show("set up", text(db, sql));
            show("text", text(db, "SELECT * FROM kinds ORDER BY id"));
            show("bound", bound(db, "SELECT * FROM kinds WHERE id >= ? AND (v = ? OR ? IS NULL) ORDER BY id", 1, null, null));
            for (String word : strings(json, "words")) show("inserted", bound(db, "INSERT INTO words (word) VALUES (?)", word));
            for (String word : strings(json, "words")) show("found", bound(db, "SELECT id, word, HEX(word) FROM words WHERE word = ?", word));
            for (String sql : strings(json, "reads")) attempt(sql, () -> text(db, sql));
            for (String sql : strings(json, "faults")) {
                attempt(sql, () -> text(db, sql));
                if (!sql.startsWith("USE")) attempt("prepared", () -> bound(db, sql));
            }
            parameters(db);
            session(db);
            if (System.getenv("CLIENT_HEAVY").equals("1") && more.contains("useBulkStmts=true")) {
                byte[] value = new byte[17 << 20];
                for (int i = 0; i < value.length; i++) value[i] = (byte) ((i * 2654435761L) >> 11);
                show("17 MiB in", bound(db, "INSERT INTO large VALUES (1, ?)", (Object) value));
                show("17 MiB out", text(db, "SELECT value FROM large WHERE id = 1"));
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        String json = Files.readString(Path.of(System.getenv("CLIENT_SQL")));
        attempt("wrong password", () -> connect(USER, "wrong", "app", ""));
        // To users that it does not know, MySQL names an authentication at random: what becomes of them, chance decides.
        if (MARIADB) attempt("unknown user", () -> connect("nobody", "x", "app", ""));
        attempt("unknown schema", () -> connect(System.getenv("CLIENT_WIDE_USER"), System.getenv("CLIENT_WIDE_PASSWORD"), "no_such_schema", ""));
        attempt("forbidden schema", () -> connect(USER, PASSWORD, "mysql", ""));
        suite(json, "&allowMultiQueries=true");
        suite(json, "&useServerPrepStmts=true&useBulkStmts=true");
        suite(json, "&useServerPrepStmts=true&useBulkStmts=false&useCompression=true");
        System.out.print("done\n");
    }
}
