/* Foreign targets: what is wrong with a file is said with its line; modules speak to tiny servers in threads here;
 * calls end in time, given up or run away; and a real etcd, where one is installed. */
#include "targets/foreign/foreign.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "harness/embedded.h"

/* --- a pool, and one call at a time ------------------------------------------------------------------------------- */

struct answer {
    bool done;
    enum foreign_status status;
    enum foreign_kind kind;
    int64_t integer;
    uint32_t list_size;
    int64_t last;
    char text[600]; /* of a string, or the reason */
    uint64_t token;
};

static void on_done(void *ctx, uint32_t slot, uint64_t token, enum foreign_status status, const struct foreign_value *v,
                    const char *reason) {
    (void)slot;
    struct answer *a = ctx;
    *a = (struct answer){true, status, v->kind, v->integer, v->list_size, 0, "", token};
    if (v->kind == FOREIGN_STRING) {
        snprintf(a->text, sizeof a->text, "%.*s", (int)v->string.size, (const char *)v->string.data);
    }
    if (v->kind == FOREIGN_LIST && v->list_size) a->last = v->list[v->list_size - 1].integer;
    if (status != FOREIGN_OK) snprintf(a->text, sizeof a->text, "%s", reason);
}

static struct answer await(struct foreign_pool *p) {
    struct answer a = {.done = false};
    while (!a.done) {
        struct pollfd fd = {.fd = foreign_pool_fd(p), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 10000), 1);
        foreign_drain(p, &a, on_done);
    }
    return a;
}

static struct answer call(struct foreign_pool *p, const char *f, struct foreign_value argument, uint64_t timeout_ns) {
    struct foreign_call c = {.f = f, .key = "k", .argument = argument, .timeout_ns = timeout_ns};
    foreign_submit(p, 0, 7, &c);
    return await(p);
}

static const struct foreign_value nothing = {.kind = FOREIGN_NIL};

static struct foreign_value integer(int64_t i) {
    return (struct foreign_value){.kind = FOREIGN_INT, .integer = i};
}

/* A target with these operations; `port` of the server to talk to is a setting. */
struct fixture {
    struct foreign_target *target;
    struct foreign_pool *pool;
};

static struct fixture start(const char *operations, uint16_t port) {
    char *text = xformat("return { doc = 'd', node = function() return { argv = { 'true' } } end,\n"
                         "ready = function() return true end, open = function(c, n) return c.settings.port end,\n"
                         "operations = { %s } }",
                         operations);
    char number[8];
    snprintf(number, sizeof number, "%u", port);
    const char *settings[] = {"port", number, NULL};
    struct foreign_cluster c = {.size = 1, .nodes = {{"127.0.0.1", "/nowhere"}}, .settings = settings};
    struct error e = {""};
    struct fixture f = {foreign_load("t.lua", bytes_str(text), &e), NULL};
    if (!f.target) fail_msg("%s", e.text);
    f.pool = foreign_pool_new(f.target, &c, 2, &e);
    if (!f.pool) fail_msg("%s", e.text);
    free(text);
    return f;
}

static void end(struct fixture f) {
    foreign_pool_free(f.pool);
    foreign_free(f.target);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

#define REST "node = print, ready = print, open = print, operations = { read = print }"

static void mistakes_in_a_file_name_the_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"return {\n  doc = 'd',\n  node = 5,\n}", "x/t.lua:3: 'node' must be a function, not a number"},
        {"return {\n  doc = 'd',\n  nodes = print,\n}", "x/t.lua:3: there is no field 'nodes' in a target"},
        {"return 5", "x/t.lua: the file must return a table, not a number"},
        {"return {", "x/t.lua:1: unexpected symbol near <eof>"},
        {"return { doc = 'd' }", "x/t.lua: the target has no 'node' (a function)"},
        {"return { doc = 'd', node = print, ready = print, open = print,\noperations = {\nread = 1 } }",
         "x/t.lua:3: operation 'read' must be a function, not a number"},
        {"\nos.execute('true')\nreturn { doc = 'd', " REST "}", "x/t.lua:2: attempt to call a nil value"},
        {"local x = io\nreturn { doc = 'd', " REST "}", "x/t.lua:1: undeclared global 'io'"},
        {"http.connect('http://127.0.0.1:1')\nreturn { doc = 'd', " REST "}", "x/t.lua:1: only functions of"},
        {"\nwhile true do end", "x/t.lua:2: out of time: an endless loop?"},
        {"return { doc = 'd', settings = { a = {} }, " REST "}", "x/t.lua: setting 'a' has no values"},
        {"return { doc = 'd', settings = { a = print }, " REST "}", "x/t.lua: setting 'a' is a text, its default,"},
        {"return { doc = 'd', settings = { ['a:b'] = 1 }, " REST "}", "x/t.lua: a setting's name is made of letters"},
        {"return { doc = string.rep('x', 1 << 30), " REST "}", "x/t.lua: more than 67108864 bytes of memory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {""};
        assert_null(foreign_load("x/t.lua", bytes_str(cases[i].text), &e));
        if (strncmp(e.text, cases[i].error, strlen(cases[i].error)) != 0) fail_msg("%s", e.text);
    }
}

static void shipped_targets_load(void **state) {
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < embedded_files_count; i++) {
        const struct embedded_file *f = &embedded_files[i];
        if (strncmp(f->name, "targets/", 8) != 0) continue;
        struct error e = {""};
        struct foreign_target *t = foreign_load(f->name, bytes_of(f->text, f->size), &e);
        if (!t) fail_msg("%s", e.text);
        assert_true(foreign_has(t, "read") && foreign_has(t, "cas") && foreign_has(t, "append"));
        assert_true(*foreign_doc(t));
        foreign_free(t);
        count++;
    }
    assert_int_equal(count, 2);
}

static void what_is_missing_is_named(void **state) {
    (void)state;
    struct error e;
    static const char text[] =
        "return { doc = 'd', install = { package = 'p', command = 'no-such-command' }, " REST "}";
    struct foreign_target *t = foreign_load("a/mine.lua", bytes_str(text), &e);
    assert_non_null(t);
    assert_string_equal(foreign_name(t), "mine");
    assert_string_equal(foreign_missing(t), "needs the command no-such-command: apt-get install p");
    foreign_free(t);
}

static void expect_setting(const struct foreign_target *t, const char *spec, const char *flush, const char *port) {
    struct error e = {""};
    char **settings = foreign_settings(t, spec, &e);
    if (!settings) fail_msg("%s: %s", spec, e.text);
    assert_string_equal(settings[0], "flush");
    assert_string_equal(settings[1], flush);
    assert_string_equal(settings[2], "port");
    assert_string_equal(settings[3], port);
    assert_null(settings[4]);
    foreign_settings_free(settings);
}

static void settings_stand_behind_the_name(void **state) {
    (void)state;
    static const char text[] = "return { doc = 'd', settings = { port = 80, flush = { 'always', 'never' } }, " REST "}";
    static const char *const refused[][2] = {
        {"t:flush=now", "flush of t cannot be \"now\"; it is one of always, never"},
        {"t:flush=never:fluss=never", "t has no setting fluss; it has flush, port"},
        {"t:port=81:always", "\"always\" is no setting; write NAME=VALUE"},
    };
    struct error e = {""};
    struct foreign_target *t = foreign_load("t.lua", bytes_str(text), &e);
    if (!t) fail_msg("%s", e.text);
    expect_setting(t, "t", "always", "80");
    expect_setting(t, "t:flush=never", "never", "80");
    expect_setting(t, "./a:b/t.lua:port=81:flush=never:port=82", "never", "82");
    expect_setting(t, "t:port=", "always", "");
    assert_int_equal(foreign_name_size("./a:b/t.lua:port=81"), strlen("./a:b/t.lua"));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_null(foreign_settings(t, refused[i][0], &e));
        assert_string_equal(e.text, refused[i][1]);
    }
    foreign_free(t);
}

static void a_node_has_a_command_and_files(void **state) {
    (void)state;
    static const char text[] =
        "return { doc = 'd', ready = print, open = print, operations = { read = print },\n"
        "node = function(cluster, node) return { argv = { 'serve', node.address, 8080 + node.id },\n"
        "  env = { HOME = node.folder }, files = { ['conf/a.txt'] = 'x=' .. cluster.settings.x } } end }";
    char folder[] = "/tmp/harrow-foreign-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *settings[] = {"x", "5", NULL};
    struct foreign_cluster c = {.size = 2, .settings = settings};
    for (int i = 0; i < 2; i++) {
        snprintf(c.nodes[i].address, sizeof c.nodes[i].address, "10.77.0.%d", i + 1);
        snprintf(c.nodes[i].folder, sizeof c.nodes[i].folder, "%s/n%d", folder, i + 1);
    }
    struct error e = {""};
    struct foreign_target *t = foreign_load("t.lua", bytes_str(text), &e);
    struct foreign_command command;
    assert_non_null(t);
    if (foreign_command(t, &c, 1, &command, &e)) fail_msg("%s", e.text);
    assert_string_equal(command.argv[0], "serve");
    assert_string_equal(command.argv[1], "10.77.0.2");
    assert_string_equal(command.argv[2], "8082");
    assert_null(command.argv[3]);
    char *check = xformat("test \"$(cat %s/n2/conf/a.txt)\" = x=5 && rm -r %s", folder, folder);
    assert_int_equal(system(check), 0);
    free(check);
    foreign_command_free(&command);
    foreign_free(t);
}

/* --- values and outcomes ------------------------------------------------------------------------------------------ */

static void values_make_the_round_trip(void **state) {
    (void)state;
    struct fixture f = start("read = function(_, _, v) return ok(v) end,\n"
                             "cas = function(_, k, old, new) return ok({ old or -1, new, #k }) end,\n"
                             "write = function(_, _, v) local t = json.decode(json.encode({ v, json.null, 'x' }))\n"
                             "  assert(t[2] == json.null and base64.decode(base64.encode('a\\0b')) == 'a\\0b')\n"
                             "  assert(json.encode(json.array()) == '[]' and json.encode({}) == '{}')\n"
                             "  return ok(t[1]) end",
                             1);
    assert_int_equal(call(f.pool, "read", nothing, NS_PER_S).kind, FOREIGN_NIL);
    assert_true(call(f.pool, "read", integer(INT64_MIN), NS_PER_S).integer == INT64_MIN);
    assert_true(call(f.pool, "write", integer(INT64_MAX), NS_PER_S).integer == INT64_MAX);
    struct foreign_value text = {.kind = FOREIGN_STRING, .string = bytes_str("hello")};
    assert_string_equal(call(f.pool, "read", text, NS_PER_S).text, "hello");
    struct foreign_value pair[] = {nothing, integer(9)};
    struct foreign_value list = {.kind = FOREIGN_LIST, .list = pair, .list_size = 2};
    struct answer a = call(f.pool, "cas", list, NS_PER_S);
    assert_int_equal(a.list_size, 3);
    assert_int_equal(a.last, 1);
    end(f);
}

static void what_goes_wrong_is_info_for_writes_and_fail_for_reads(void **state) {
    (void)state;
    struct fixture f = start("read = function() error('broken') end, write = function() error('broken') end,\n"
                             "add = function() return 5 end, cas = function() return fail('mismatch') end",
                             1);
    assert_int_equal(call(f.pool, "read", nothing, NS_PER_S).status, FOREIGN_FAIL);
    struct answer a = call(f.pool, "write", nothing, NS_PER_S);
    assert_int_equal(a.status, FOREIGN_INFO);
    assert_string_equal(a.text, "t.lua:3: broken");
    a = call(f.pool, "add", nothing, NS_PER_S);
    assert_int_equal(a.status, FOREIGN_INFO);
    assert_non_null(strstr(a.text, "must return ok(value)"));
    a = call(f.pool, "cas", nothing, NS_PER_S);
    assert_int_equal(a.status, FOREIGN_FAIL);
    assert_string_equal(a.text, "mismatch");
    assert_int_equal(call(f.pool, "delete", nothing, NS_PER_S).status, FOREIGN_FAIL);
    end(f);
}

static void a_runaway_call_ends(void **state) {
    (void)state;
    struct fixture f =
        start("write = function() while true do pcall(function() while true do end end) end end,\n"
              "add = function() local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end end,\n"
              "read = function() return ok(1) end",
              1);
    struct answer a = call(f.pool, "write", nothing, 50 * NS_PER_MS);
    assert_int_equal(a.status, FOREIGN_INFO);
    assert_non_null(strstr(a.text, "out of time"));
    a = call(f.pool, "add", nothing, 5 * NS_PER_S);
    assert_int_equal(a.status, FOREIGN_INFO);
    assert_non_null(strstr(a.text, "bytes of memory"));
    assert_int_equal(call(f.pool, "read", nothing, NS_PER_S).status, FOREIGN_OK);
    end(f);
}

/* --- the modules -------------------------------------------------------------------------------------------------- */

/* Accepts one connection after another; to what each receives (until `until` occurs) it answers, or closes when the
 * answer is NULL; `silent`: it never answers. Ends when the listener is shut down. */
struct server {
    int fd;
    uint16_t port;
    const char *until, *answer;
    bool silent;
    _Atomic int requests;
    pthread_t thread;
};

static void *serve(void *ctx) {
    struct server *s = ctx;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0; close(fd)) {
        char in[4096];
        size_t size = 0;
        for (ssize_t count; (count = recv(fd, in + size, sizeof in - 1 - size, 0)) > 0;) {
            size += (size_t)count;
            in[size] = 0;
            if (!strstr(in, s->until)) continue;
            s->requests++;
            size = 0;
            if (s->silent) continue;
            if (!s->answer) break;
            send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL);
        }
    }
    return NULL;
}

static void server_start(struct server *s, const char *until, const char *answer, bool silent) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    *s = (struct server){.until = until, .answer = answer, .silent = silent};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    getsockname(s->fd, (struct sockaddr *)&at, &size);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

/* After the clients have closed their connections. */
static void server_end(struct server *s) {
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

#define HTTP_WRITE                                                                                                     \
    "write = function(port) local c = http.connect('http://127.0.0.1:' .. port)\n"                                     \
    "  local status, body, sent = c:post('/x', 'body', { headers = { Name = 'value' } })\n"                            \
    "  if not status then return (sent and info or fail)(body) end return ok(status .. body) end"

static void http_answers_and_failures_tell_whether_anything_was_sent(void **state) {
    (void)state;
    struct server s;
    server_start(&s, "Name: value\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false);
    struct fixture f = start(HTTP_WRITE, s.port);
    struct answer a = call(f.pool, "write", nothing, 5 * NS_PER_S);
    assert_int_equal(a.status, FOREIGN_OK);
    assert_string_equal(a.text, "200hi");
    end(f);
    server_end(&s);
    f = start(HTTP_WRITE, s.port); /* nobody listens any more */
    a = call(f.pool, "write", nothing, 5 * NS_PER_S);
    assert_int_equal(a.status, FOREIGN_REFUSED);
    assert_string_equal(a.text, "connect");
    end(f);
    server_start(&s, "Name: value\r\n", NULL, true);
    f = start(HTTP_WRITE, s.port);
    a = call(f.pool, "write", nothing, 50 * NS_PER_MS);
    assert_int_equal(a.status, FOREIGN_INFO);
    assert_string_equal(a.text, "timeout");
    end(f);
    server_end(&s);
}

/* libcurl would send again what a kept connection lost. */
static void http_never_sends_twice(void **state) {
    (void)state;
    static const char *const first = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 8), 0);
    getsockname(listener, (struct sockaddr *)&at, &size);
    struct fixture f = start("write = function(port) local c = http.connect('http://127.0.0.1:' .. port)\n"
                             "  c:post('/1', '') local status, why, sent = c:post('/2', '')\n"
                             "  return info(tostring(status) .. why .. tostring(sent)) end",
                             ntohs(at.sin_port));
    struct foreign_call c = {.f = "write", .key = "k", .timeout_ns = 5 * NS_PER_S};
    foreign_submit(f.pool, 0, 1, &c);
    char in[4096];
    int fd = accept(listener, NULL, NULL);
    assert_true(recv(fd, in, sizeof in, 0) > 0);
    send(fd, first, strlen(first), MSG_NOSIGNAL);
    assert_true(recv(fd, in, sizeof in, 0) > 0);
    close(fd); /* the second request came, and no answer to it */
    struct answer a = await(f.pool);
    assert_string_equal(a.text, "nillosttrue");
    end(f);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    fd = accept(listener, NULL, NULL);
    if (fd >= 0) {
        assert_int_equal(recv(fd, in, sizeof in, 0), 0);
        close(fd);
    }
    close(listener);
}

static void redis_and_tcp_speak(void **state) {
    (void)state;
    struct server s;
    server_start(&s, "GET\r\n", "$2\r\n42\r\n", false);
    struct fixture f = start("read = function(port) local c = assert(redis.connect('127.0.0.1', port // 1 | 0))\n"
                             "  return ok(math.tointeger(c:command('GET', 'a'))) end,\n"
                             "write = function(port) local c = assert(tcp.connect('127.0.0.1', port // 1 | 0))\n"
                             "  assert(c:send('GET\\r\\n')) local line = assert(c:receive('line'))\n"
                             "  local data = c:receive(4) c:close() return ok(line .. data) end",
                             s.port);
    struct answer a = call(f.pool, "write", nothing, 5 * NS_PER_S);
    if (strcmp(a.text, "$242\r\n") != 0) fail_msg("%s", a.text);
    a = call(f.pool, "read", nothing, 5 * NS_PER_S);
    if (a.integer != 42) fail_msg("%s", a.text);
    end(f);
    server_end(&s);
}

static void a_process_is_run_and_ended(void **state) {
    (void)state;
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0) { /* an old kernel, or an old valgrind in its place */
        printf("skip: pidfd_open: %s\n", strerror(errno));
        skip();
    }
    close(self);
    struct fixture f =
        start("read = function() local s, out, err = process.run({ 'sh', '-c', 'cat; echo e >&2; exit 3' },\n"
              "  { stdin = 'in' }) return ok(s .. out .. err) end,\n"
              "write = function() local s, word = process.run({ 'sleep', '1000' }) return info(word) end,\n"
              "add = function() local s, why, started = process.run({ '/no/such' })\n"
              "  assert(not started) return fail(why) end",
              1);
    assert_string_equal(call(f.pool, "read", nothing, 5 * NS_PER_S).text, "3ine\n");
    assert_string_equal(call(f.pool, "write", nothing, 50 * NS_PER_MS).text, "timeout");
    assert_string_equal(call(f.pool, "add", nothing, NS_PER_S).text, "/no/such: No such file or directory");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    end(f);
}

static void an_abandoned_call_ends_and_frees_its_slot(void **state) {
    (void)state;
    struct server s;
    server_start(&s, "Name: value\r\n", NULL, true);
    struct fixture f = start(HTTP_WRITE ", read = function() return ok(1) end", s.port);
    struct foreign_call c = {.f = "write", .key = "k", .timeout_ns = 1000 * NS_PER_S};
    uint64_t began_ns = monotonic_ns();
    foreign_submit(f.pool, 0, 1, &c);
    foreign_submit(f.pool, 1, 2, &c);
    while (s.requests == 0) sched_yield();
    foreign_abandon(f.pool, 0);
    c.f = "read";
    foreign_submit(f.pool, 0, 3, &c);
    struct answer a = await(f.pool);
    assert_int_equal(a.token, 3);
    assert_int_equal(a.status, FOREIGN_OK);
    end(f); /* with the other call under way */
    assert_true(monotonic_ns() - began_ns < 100 * NS_PER_S);
    server_end(&s);
}

static void polling_finds_nodes_and_the_leader(void **state) {
    (void)state;
    static const char text[] =
        "return { doc = 'd', node = print, open = print, operations = { read = print },\n"
        "ready = function(_, node) return node.id ~= 3 end,\n"
        "status = function(_, node) if node.id == 3 then error('down') end\n"
        "  return { role = 'leader', leader = node.id, term = 5 + node.id, applied = 8, last = 9 } end }";
    struct foreign_cluster c = {.size = 3};
    struct error e = {""};
    struct foreign_target *t = foreign_load("t.lua", bytes_str(text), &e);
    assert_non_null(t);
    struct foreign_pool *p = foreign_pool_new(t, &c, 1, &e);
    assert_non_null(p);
    assert_int_equal(foreign_leader(p), UINT8_MAX);
    foreign_poll(p, NS_PER_MS);
    while (foreign_leader(p) != 1) sched_yield();
    struct foreign_node_state s;
    foreign_node_state(p, 1, &s);
    assert_true(s.ready && s.known && s.term == 7 && s.applied_index == 8 && s.last_index == 9 && s.leader == 1);
    foreign_node_state(p, 2, &s);
    assert_false(s.ready || s.known);
    foreign_pool_free(p);
    foreign_free(t);
}

/* --- etcd --------------------------------------------------------------------------------------------------------- */

static pid_t spawn(char *const *argv) {
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

static void etcd_serves_and_a_stopped_one_is_info(void **state) {
    (void)state;
    const struct embedded_file *file = embedded_find("targets/etcd.lua");
    struct error e = {""};
    struct foreign_target *t = foreign_load(file->name, bytes_of(file->text, file->size), &e);
    assert_non_null(t);
    if (foreign_missing(t)) {
        printf("skip: etcd %s\n", foreign_missing(t));
        foreign_free(t);
        skip();
    }
    char folder[] = "/tmp/harrow-etcd-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char **settings = foreign_settings(t, "etcd", &e);
    assert_non_null(settings);
    struct foreign_cluster c = {.size = 1, .settings = (const char *const *)settings};
    snprintf(c.nodes[0].address, sizeof c.nodes[0].address, "127.77.%d.1", getpid() % 250);
    snprintf(c.nodes[0].folder, sizeof c.nodes[0].folder, "%s", folder);
    struct foreign_command command;
    if (foreign_command(t, &c, 0, &command, &e)) fail_msg("%s", e.text);
    pid_t pid = spawn(command.argv);
    struct foreign_pool *p = foreign_pool_new(t, &c, 1, &e);
    assert_non_null(p);
    foreign_poll(p, 20 * NS_PER_MS);
    struct foreign_node_state s = {.ready = false};
    uint64_t began_ns = monotonic_ns();
    while (!s.ready || foreign_leader(p) != 0) {
        if (monotonic_ns() - began_ns > 60 * NS_PER_S) fail_msg("etcd did not get ready");
        poll(NULL, 0, 10);
        foreign_node_state(p, 0, &s);
    }
    assert_int_equal(s.role, 2);
    uint64_t timeout_ns = 10 * NS_PER_S;
    assert_int_equal(call(p, "read", nothing, timeout_ns).kind, FOREIGN_NIL);
    struct foreign_value pair[] = {nothing, integer(1)};
    struct foreign_value swap = {.kind = FOREIGN_LIST, .list = pair, .list_size = 2};
    struct answer a = call(p, "cas", swap, timeout_ns);
    if (a.status != FOREIGN_OK) fail_msg("%s", a.text);
    a = call(p, "cas", swap, timeout_ns);
    assert_string_equal(a.text, "mismatch");
    pair[0] = integer(1);
    pair[1] = integer(INT64_MAX);
    assert_int_equal(call(p, "cas", swap, timeout_ns).status, FOREIGN_OK);
    assert_true(call(p, "read", nothing, timeout_ns).integer == INT64_MAX);
    assert_int_equal(call(p, "write", integer(5), timeout_ns).status, FOREIGN_OK);
    assert_int_equal(call(p, "add", integer(2), timeout_ns).status, FOREIGN_OK);
    assert_int_equal(call(p, "read", nothing, timeout_ns).integer, 7);
    assert_int_equal(call(p, "delete", nothing, timeout_ns).status, FOREIGN_OK);
    assert_int_equal(call(p, "append", integer(3), timeout_ns).status, FOREIGN_OK);
    assert_int_equal(call(p, "append", integer(4), timeout_ns).status, FOREIGN_OK);
    a = call(p, "read", nothing, timeout_ns);
    assert_int_equal(a.list_size, 2);
    assert_int_equal(a.last, 4);
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid); /* until then some of its threads still run */
    a = call(p, "write", integer(6), 300 * NS_PER_MS);
    assert_int_equal(a.status, FOREIGN_INFO);
    assert_int_equal(call(p, "read", nothing, 300 * NS_PER_MS).status, FOREIGN_FAIL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    a = call(p, "write", integer(6), timeout_ns);
    assert_int_equal(a.status, FOREIGN_REFUSED);
    assert_string_equal(a.text, "connect");
    foreign_pool_free(p);
    foreign_command_free(&command);
    foreign_settings_free(settings);
    foreign_free(t);
    char *clean = xformat("rm -rf %s", folder);
    assert_int_equal(system(clean), 0);
    free(clean);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_in_a_file_name_the_line),
        cmocka_unit_test(shipped_targets_load),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(settings_stand_behind_the_name),
        cmocka_unit_test(a_node_has_a_command_and_files),
        cmocka_unit_test(values_make_the_round_trip),
        cmocka_unit_test(what_goes_wrong_is_info_for_writes_and_fail_for_reads),
        cmocka_unit_test(a_runaway_call_ends),
        cmocka_unit_test(http_answers_and_failures_tell_whether_anything_was_sent),
        cmocka_unit_test(http_never_sends_twice),
        cmocka_unit_test(redis_and_tcp_speak),
        cmocka_unit_test(a_process_is_run_and_ended),
        cmocka_unit_test(an_abandoned_call_ends_and_frees_its_slot),
        cmocka_unit_test(polling_finds_nodes_and_the_leader),
        cmocka_unit_test(etcd_serves_and_a_stopped_one_is_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
