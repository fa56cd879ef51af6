// The suite with Go's driver and database/sql: text and binary protocol, a pool, contexts.
package main

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

type suite struct {
	Setup  []string          `json:"setup"`
	Words  []string          `json:"words"`
	Reads  map[string]string `json:"reads"`
	Faults []string          `json:"faults"`
}

var env = os.Getenv

func dsn(user, password, schema, more string) string {
	where := fmt.Sprintf("tcp(%s:%s)", env("CLIENT_HOST"), env("CLIENT_PORT"))
	if env("CLIENT_SOCKET") != "" {
		where = fmt.Sprintf("unix(%s)", env("CLIENT_SOCKET"))
	}
	return fmt.Sprintf("%s:%s@%s/%s?maxAllowedPacket=0&collation=utf8mb4_general_ci%s", user, password, where, schema, more)
}

func open(more string) *sql.DB {
	db, err := sql.Open("mysql", dsn(env("CLIENT_USER"), env("CLIENT_PASSWORD"), "app", more))
	must(err)
	return db
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func show(what string, value interface{}) {
	text, err := json.Marshal(value)
	must(err)
	fmt.Printf("%s: %s\n", what, text)
}

func fault(err error) interface{} {
	var told *mysql.MySQLError
	if errors.As(err, &told) {
		return []interface{}{told.Number, told.Message}
	}
	return fmt.Sprintf("%T %v", err, err)
}

func plain(value interface{}) interface{} {
	switch value := value.(type) {
	case []byte:
		if len(value) > 2000 {
			return fmt.Sprintf("%d bytes %x", len(value), sha1.Sum(value))
		}
		return fmt.Sprintf("%q", value)
	case nil:
		return nil
	default:
		return fmt.Sprintf("%T %v", value, value)
	}
}

// All rows with their columns' types, of every result.
func all(rows *sql.Rows, err error) interface{} {
	if err != nil {
		return fault(err)
	}
	defer rows.Close()
	var out []interface{}
	for {
		types, err := rows.ColumnTypes()
		if err != nil {
			return append(out, fault(err))
		}
		var columns []string
		for _, one := range types {
			nullable, _ := one.Nullable()
			precision, scale, _ := one.DecimalSize()
			columns = append(columns, fmt.Sprint(one.Name(), " ", one.DatabaseTypeName(), " ", one.ScanType(), " ", nullable, " ", precision, " ", scale))
		}
		out = append(out, columns)
		for rows.Next() {
			values := make([]interface{}, len(types))
			into := make([]interface{}, len(types))
			for i := range values {
				into[i] = &values[i]
			}
			must(rows.Scan(into...))
			for i := range values {
				values[i] = plain(values[i])
			}
			out = append(out, values)
		}
		if rows.Err() != nil {
			return append(out, fault(rows.Err()))
		}
		if !rows.NextResultSet() {
			break
		}
	}
	if rows.Err() != nil {
		return append(out, fault(rows.Err()))
	}
	return out
}

func done(result sql.Result, err error) interface{} {
	if err != nil {
		return fault(err)
	}
	id, _ := result.LastInsertId()
	affected, _ := result.RowsAffected()
	return []int64{id, affected}
}

func logins() {
	try := func(what, user, password, schema string) {
		db, err := sql.Open("mysql", dsn(user, password, schema, ""))
		must(err)
		defer db.Close()
		if err := db.Ping(); err != nil {
			show(what, fault(err))
		} else {
			show(what, "let in")
		}
	}
	try("wrong password", env("CLIENT_USER"), "wrong", "app")
	// To users that it does not know, MySQL names an authentication at random: what becomes of them, chance decides.
	if env("CLIENT_FAMILY") == "mariadb" {
		try("unknown user", "nobody", "x", "app")
	}
	try("unknown schema", env("CLIENT_WIDE_USER"), env("CLIENT_WIDE_PASSWORD"), "no_such_schema")
	try("forbidden schema", env("CLIENT_USER"), env("CLIENT_PASSWORD"), "mysql")
}

func parameters(ctx context.Context, db *sql.Conn) {
	show("table", done(db.ExecContext(ctx, "CREATE TABLE bound (id INT AUTO_INCREMENT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, t VARCHAR(200), b LONGBLOB, at DATETIME(6), yes BOOLEAN, de DECIMAL(20,6), j JSON)")))
	insert, err := db.PrepareContext(ctx, "INSERT INTO bound (i, u, d, t, b, at, yes, de, j) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
	must(err)
	at := time.Date(2026, 2, 28, 12, 34, 56, 123456000, time.UTC)
	for _, values := range [][]interface{}{
		{int64(-9223372036854775808), uint64(9223372036854775807), 2.25, "Zürich 😀", []byte{0, 1, 255}, at, true, "12345678901234.123456", `{"a": [1]}`},
		{nil, nil, nil, nil, nil, nil, nil, nil, nil},
		{int64(7), uint64(7), -1.5e300, "", []byte{}, time.Time{}.AddDate(2000, 0, 0), false, "-0.000001", `null`},
		{"8", "9", "1.25", 10, "text", "2026-01-01", 1, 2.5, `[]`},
	} {
		show("bound", done(insert.ExecContext(ctx, values...)))
	}
	must(insert.Close())
	show("what was bound", all(db.QueryContext(ctx, "SELECT * FROM bound WHERE id >= ? ORDER BY id", 1)))
	show("as text", all(db.QueryContext(ctx, "SELECT * FROM bound ORDER BY id")))
	show("typed", all(db.QueryContext(ctx, "SELECT ? AS i, ? AS f, ? AS t, ? AS b, ? AS n, ? AS d", 1, 1.5, "text", []byte{1, 2}, nil, at)))
	find, err := db.PrepareContext(ctx, "SELECT id, t FROM bound WHERE i = ? OR t = ? ORDER BY id")
	must(err)
	for _, values := range [][]interface{}{{7, "Zürich 😀"}, {nil, nil}, {"8", ""}, {7.0, []byte("text")}} {
		show("found", all(find.QueryContext(ctx, values...)))
	}
	must(find.Close())
	_, err = db.PrepareContext(ctx, "SELEKT ?")
	show("not to be prepared", fault(err))
	show("too few", fault(errorOf(db.QueryContext(ctx, "SELECT ?"))))
}

func errorOf(rows *sql.Rows, err error) error {
	if err == nil {
		rows.Close()
	}
	return err
}

func transactions(ctx context.Context, db *sql.Conn) {
	exec := func(in *sql.Tx, sql string, values ...interface{}) {
		show(sql, done(in.Exec(sql, values...)))
	}
	show("accounts", done(db.ExecContext(ctx, "INSERT INTO account VALUES (1, 100), (2, 200)")))
	for _, options := range []*sql.TxOptions{nil, {Isolation: sql.LevelReadCommitted}, {Isolation: sql.LevelSerializable, ReadOnly: true}} {
		in, err := db.BeginTx(ctx, options)
		if err != nil {
			show("begin", fault(err))
			continue
		}
		exec(in, "UPDATE account SET amount = amount - ? WHERE id = 1", 10)
		exec(in, "SAVEPOINT one")
		exec(in, "UPDATE account SET amount = 0")
		show("within", all(in.Query("SELECT * FROM account WHERE id > ? ORDER BY id", 0)))
		exec(in, "ROLLBACK TO SAVEPOINT one")
		exec(in, "INSERT INTO account VALUES (1, 1)")
		show("still", all(in.Query("SELECT * FROM account ORDER BY id")))
		if options == nil {
			must(in.Commit())
		} else {
			must(in.Rollback())
		}
	}
	show("after all", all(db.QueryContext(ctx, "SELECT * FROM account ORDER BY id")))
}

func session(ctx context.Context, db *sql.Conn) {
	exec := func(sql string, values ...interface{}) { show(sql, done(db.ExecContext(ctx, sql, values...))) }
	query := func(sql string, values ...interface{}) { show(sql, all(db.QueryContext(ctx, sql, values...))) }
	exec("USE test")
	query("SELECT DATABASE()")
	exec("USE app")
	exec("SET SESSION sql_mode = 'ANSI', time_zone = '+03:00'")
	query(`SELECT "id", 'a' || 'b' AS ab, ts FROM "kinds" ORDER BY "id"`)
	exec("SET SESSION sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00'")
	exec("INSERT INTO words (word) VALUES ('last')")
	query("SELECT LAST_INSERT_ID()")
	exec("UPDATE words SET word = CONCAT(word, '!') WHERE id <= 3")
	query("SELECT ROW_COUNT()")
	query("SELECT SQL_CALC_FOUND_ROWS d FROM digit ORDER BY d LIMIT 4")
	query("SELECT FOUND_ROWS()")
	query("SELECT 1/0, CAST('7x' AS SIGNED)")
	query("SHOW WARNINGS")
	exec("SET @one = ?", 1)
	query("SELECT @one, @one + ?", 1)
	exec("CREATE TEMPORARY TABLE passing AS SELECT d FROM digit")
	query("SELECT SUM(d) FROM passing")
	query("CALL two_results(7)")
	query("CALL two_results(?)", 8)
	query("SELECT * FROM account ORDER BY id")
}

// Several connections at once, each with what the others wrote before.
func pooled(ctx context.Context) {
	db := open("&clientFoundRows=true&parseTime=true&interpolateParams=true")
	defer db.Close()
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	done := make(chan error)
	for i := 0; i < 12; i++ {
		go func(i int) {
			_, err := db.Exec("INSERT INTO account VALUES (?, ?)", 100+i, i)
			done <- err
		}(i)
	}
	for i := 0; i < 12; i++ {
		must(<-done)
	}
	show("together", all(db.Query("SELECT COUNT(*), SUM(amount) FROM account WHERE id >= ?", 100)))
	result, err := db.Exec("UPDATE account SET amount = amount WHERE id >= 100")
	must(err)
	found, _ := result.RowsAffected()
	show("found, not changed", found)
	show("times", all(db.Query("SELECT dt, ts, da, ti FROM kinds WHERE id IN (?, ?) ORDER BY id", 1, 4)))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = db.ExecContext(short, "DO SLEEP(20)")
	show("given up", fmt.Sprint(err))
	show("goes on", all(db.Query("SELECT 1")))
}

func heavy(ctx context.Context) {
	db := open("")
	defer db.Close()
	rows, err := db.Query("SELECT a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d AS n FROM digit a, digit b, digit c, digit e, digit f")
	must(err)
	count, sum := 0, 0
	for rows.Next() {
		var n int
		must(rows.Scan(&n))
		count, sum = count+1, sum+n
	}
	must(rows.Err())
	show("many rows", []int{count, sum})
	value := make([]byte, 17<<20)
	for i := range value {
		value[i] = byte((i * 2654435761) >> 11)
	}
	result, err := db.Exec("INSERT INTO large VALUES (1, ?)", value)
	show("17 MiB in", done(result, err))
	show("17 MiB out", all(db.Query("SELECT value FROM large WHERE id = ?", 1)))
}

func main() {
	var suite suite
	text, err := os.ReadFile(env("CLIENT_SQL"))
	must(err)
	must(json.Unmarshal(text, &suite))
	ctx := context.Background()
	logins()
	pool := open("&multiStatements=true")
	defer pool.Close()
	db, err := pool.Conn(ctx)
	must(err)
	for _, sql := range suite.Setup {
		show("set up", done(db.ExecContext(ctx, sql)))
	}
	show("text", all(db.QueryContext(ctx, "SELECT * FROM kinds ORDER BY id")))
	show("prepared", all(db.QueryContext(ctx, "SELECT * FROM kinds WHERE id >= ? ORDER BY id", 1)))
	for _, word := range suite.Words {
		show("inserted", done(db.ExecContext(ctx, "INSERT INTO words (word) VALUES (?)", word)))
	}
	for _, word := range suite.Words {
		show("found", all(db.QueryContext(ctx, "SELECT id, word, HEX(word) FROM words WHERE word = ?", word)))
	}
	var names []string
	for name := range suite.Reads {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		show(name, all(db.QueryContext(ctx, suite.Reads[name])))
	}
	for _, sql := range suite.Faults {
		show(sql, all(db.QueryContext(ctx, sql)))
		if !strings.HasPrefix(sql, "USE") {
			show("prepared", all(db.QueryContext(ctx, sql+" /* ? */ -- ?")))
		}
	}
	parameters(ctx, db)
	transactions(ctx, db)
	session(ctx, db)
	show("several", all(db.QueryContext(ctx, "SELECT 1 AS a; UPDATE account SET amount = amount + 1; SELECT SUM(amount) FROM account")))
	must(db.PingContext(ctx))
	must(db.Close())
	pooled(ctx)
	if env("CLIENT_HEAVY") == "1" {
		heavy(ctx)
	}
	fmt.Println("done")
}
