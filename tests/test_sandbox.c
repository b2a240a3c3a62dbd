/* The sandbox of scenarios: nothing in it differs between two runs or two machines, and nothing in it can hang or eat
 * the harness. One test per property. */
#include "tests/script_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define BUDGET_TEXT "more than 50000000 instructions without a pause: an endless loop?"

static const struct script_options small = {.instructions_max = 1000000, .memory_bytes_max = 8 << 20};

static void expect_small_error(const char *text, const char *expected) {
    struct error e = {""};
    struct script *s = load_text(text, &small, &e);
    if (s) fail_msg("no error for: %s", text);
    if (strcmp(e.text, expected) != 0) fail_msg("expected: %s\n     got: %s", expected, e.text);
}

#define SPENT ": more than 1000000 instructions without a pause: an endless loop?"

static void endless_loops_end(void **state) {
    (void)state;
    expect_error("\nwhile true do end", "test.lua:2: " BUDGET_TEXT);
    expect_small_error("local function f() return f() end\nf()", "test.lua:1" SPENT);
    expect_small_error("for i = 1, math.huge do end", "test.lua:1" SPENT);
    expect_small_error("goto a ::a:: goto a", "test.lua:1" SPENT);
    expect_small_error("table.sort({1, 2, 3}, function() while true do end end)", "test.lua:1" SPENT);
    expect_small_error("string.gsub('x', 'x', function() while true do end end)", "test.lua:1" SPENT);
    expect_small_error("local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end})\n"
                       "while true do pcall(function() return t[1] end) end",
                       "test.lua:2" SPENT);
}

static void pcall_does_not_swallow_the_budget(void **state) {
    (void)state;
    expect_small_error("while true do pcall(function() while true do end end) end", "test.lua:1" SPENT);
    expect_small_error("pcall(function() while true do end end)", "test.lua:1" SPENT);
    expect_small_error("pcall(pcall, pcall, function() while true do end end)\nlocal x = 1", "test.lua:1" SPENT);
    expect_error("local function f() pcall(f) pcall(f) end\nwhile true do f() end", "test.lua:1: " BUDGET_TEXT);
    expect_small_error("while true do xpcall(function() while true do end end, function() while true do end end) end",
                       "test.lua:1" SPENT);
}

static void pcall_and_xpcall_work_as_in_the_manual(void **state) {
    (void)state;
    expect_loads(
        "local a, b, c = xpcall(function(x, y) return x, y end, print, 1, 2) assert(a and b == 1 and c == 2)\n"
        "a, b, c = xpcall(function() error('x', 0) end, function(m) return m .. '!', 5 end)\n"
        "assert(a == false and b == 'x!' and c == 5)\n"
        "a, b = xpcall(error, function(m) return m end, 'q') assert(a == false and b == 'q')\n"
        "assert(select('#', pcall(function() return 1, nil, nil end)) == 4)\n"
        "a, b = pcall(error, 'boo', 0) assert(a == false and b == 'boo')\n"
        "assert(select('#', pcall(print)) == 1) assert(not pcall(pcall))\n"
        "local co = coroutine.wrap(function() return pcall(function() coroutine.yield(1) error('z', 0) end) end)\n"
        "assert(co() == 1) a, b = co() assert(a == false and b == 'z')\n"
        "co = coroutine.wrap(function()\n"
        "  return xpcall(function() coroutine.yield(1) error('z', 0) end, function(m) return m .. '?' end)\n"
        "end)\n"
        "assert(co() == 1) a, b = co() assert(a == false and b == 'z?')");
}

static void coroutines_share_the_budget(void **state) {
    (void)state;
    expect_small_error("coroutine.wrap(function() while true do end end)()", "test.lua:1" SPENT);
    expect_small_error("while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
                       "test.lua:1" SPENT);
    expect_small_error("while true do coroutine.wrap(function() end)() end", "test.lua:1" SPENT);
}

static void memory_is_limited(void **state) {
    (void)state;
    expect_small_error("local t = {}\nfor i = 1, 1e9 do\n  t[i] = i\nend",
                       "test.lua:3: the script needs more than its 8388608 bytes of memory");
    expect_small_error("local s = 'x'\nwhile true do s = s .. s end",
                       "test.lua:2: a string is longer than 262144 bytes, which a scenario may not make");
    expect_small_error("local t = {}\nfor i = 1, 1e9 do t[i] = ('x'):rep(100000) .. i end",
                       "test.lua:2: the script needs more than its 8388608 bytes of memory");
    expect_loads("local t = {}\nfor i = 1, 100 do t = { t } end");
}

static void tiny_memory_is_an_error(void **state) {
    (void)state;
    for (size_t memory = 100; memory < 200000; memory = memory * 9 / 8) {
        struct error e = {""};
        struct script_options o = {.memory_bytes_max = memory};
        struct script *s = load_text("local t = partition.halves()", &o, &e);
        if (!s) assert_non_null(strstr(e.text, "memory"));
        script_free(s);
    }
}

static void library_calls_are_bounded(void **state) {
    (void)state;
    expect_error("('x'):rep(1e9)", "test.lua:1: string.rep: the result would be longer than 262144 bytes");
    expect_loads("assert((''):rep(1e15) == '')");
    expect_error("table.move({}, 1, 1e15, 2)", "test.lua:1: a range of more than 1000000 elements");
    expect_error("table.concat({}, '', 1, math.maxinteger)", "test.lua:1: a range of more than 1000000 elements");
    expect_error("table.insert(setmetatable({}, {__len = function() return 1e15 // 1 | 0 end}), 1, 1)",
                 "test.lua:1: a list of more than 1000000 elements");
    expect_error("table.sort(setmetatable({}, {__len = function() return 1e15 // 1 | 0 end}))",
                 "test.lua:1: table.sort: more than 1000000 elements");
    expect_error("table.unpack({}, 1, 1e7)", "test.lua:1: a range of more than 1000000 elements");
}

static void patterns_are_bounded(void **state) {
    (void)state;
    clock_t start = clock();
    expect_error("local s = ('a'):rep(3000)\nlocal r = s:find(('.-'):rep(8) .. 'b')", "test.lua:2: " BUDGET_TEXT);
    expect_error("local r = ('a'):rep(100):match('(.-)(.-)(.-)(.-)(.-)(.-)(.-)(.-)%8%7%6b')",
                 "test.lua:1: " BUDGET_TEXT);
    expect_small_error("for i = 1, 1e9 do local s = ('a'):rep(1000):gsub('a-b', 'c') end", "test.lua:1" SPENT);
    assert_true(clock() - start < 30 * CLOCKS_PER_SEC);
}

static void patterns_match_as_in_the_manual(void **state) {
    (void)state;
    expect_loads(
        "local function eq(a, b) assert(a == b, tostring(a) .. ' is not ' .. tostring(b)) end\n"
        "eq(('hello world'):match('^(%w+)'), 'hello')\n"
        "local a, b, c = ('key = value'):find('(%w+)%s*=%s*(%w+)') eq(a, 1) eq(b, 11) eq(c, 'key')\n"
        "eq(('abc'):find('b', 1, true), 2) eq(('a.c'):find('.', 1, true), 2) eq(('abc'):find(''), 1)\n"
        "eq(('abc'):find('', 10), nil) eq(('abc'):find('', 4), 4) eq(('abcabc'):find('b', -3), 5)\n"
        "eq(('x'):rep(3, ','), 'x,x,x') eq(('abc'):gsub('%w', '%0%0'), 'aabbcc')\n"
        "eq(('hello'):gsub('', '-'), '-h-e-l-l-o-') eq(('abc'):gsub('b', {b = 'B'}), 'aBc')\n"
        "eq(('abc'):gsub('%w', function(x) if x == 'b' then return 'Z' end end), 'aZc')\n"
        "eq(('abc abc'):gsub('abc', 'x', 1), 'x abc') eq(('THE (quick) fox'):find('%((%a+)%)'), 5)\n"
        "eq(('f(a(b)c)d'):match('%b()'), '(a(b)c)') eq(('THE (quick)'):gsub('%f[%a]%a+', 'w'), 'w (w)')\n"
        "eq(('aXb'):match('%u'), 'X') eq(('[x]'):match('[]]'), ']') eq(('a-b'):match('[a%-]+'), 'a-')\n"
        "eq(('x^y'):match('[%^x]+'), 'x\\94') eq(('abc'):match('[^a]+'), 'bc') eq(('0x1F'):match('%x+$'), '1F')\n"
        "eq(('abc'):match('()b()'), 2) eq(select(2, ('abc'):match('()b()')), 3)\n"
        "eq(('abab'):match('(ab)%1'), 'ab') eq(('aaa'):match('a-'), '') eq(('aaab'):match('a-b'), 'aaab')\n"
        "eq(('ab'):match('a?b?c?'), 'ab') eq(('caab'):match('ca*b'), 'caab') eq(('b'):match('a*'), '')\n"
        "local words = {} for w in ('one two  three'):gmatch('%a+') do words[#words + 1] = w end\n"
        "eq(table.concat(words, '|'), 'one|two|three')\n"
        "local n = 0 for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do n = n + 1 eq(#k, 1) eq(#v, 1) end eq(n, 2)\n"
        "local places = {} for p in ('ab'):gmatch('()') do places[#places + 1] = p end eq(#places, 3)\n"
        "eq(('a\\0b'):find('\\0'), 2) eq(('a$b'):match('a$b'), 'a$b') eq(('^a'):find('%^'), 1)\n");
    expect_error("('a'):find('[a')", "test.lua:1: malformed pattern (missing ']')");
    expect_error("('a'):find('%')", "test.lua:1: malformed pattern (ends with '%')");
    expect_error("('a'):find('(a')", "test.lua:1: unfinished capture");
    expect_error("('a'):find('a)')", "test.lua:1: invalid pattern capture");
    expect_error("('a'):find('%1')", "test.lua:1: invalid capture index %1 in a pattern");
    expect_error("('a'):find('%f')", "test.lua:1: missing '[' after '%f' in pattern");
    expect_error("('a'):find('%b(')", "test.lua:1: malformed pattern (missing arguments to '%b')");
    expect_error("('a'):gsub('a', '%2')", "test.lua:1: invalid capture index %2");
    expect_error("('a'):gsub('a', '%z')", "test.lua:1: invalid use of '%' in replacement string");
    expect_error("('a'):rep(300):find(('('):rep(40))", "test.lua:1: too many captures");
}

static void the_machine_is_out_of_reach(void **state) {
    (void)state;
    static const char *const names[] = {"io",   "os",       "package", "require",        "debug",
                                        "load", "loadfile", "dofile",  "collectgarbage", "warn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[64], message[200];
        snprintf(text, sizeof text, "\nlocal x = %s", names[i]);
        snprintf(message, sizeof message,
                 "test.lua:2: '%s' is not there in a scenario: it could see this machine, and runs would differ",
                 names[i]);
        expect_error(text, message);
        snprintf(text, sizeof text, "assert(rawget(_G, '%s') == nil)", names[i]);
        expect_loads(text);
    }
    expect_loads("assert(string.dump == nil)");
    struct error e = {""};
    assert_null(script_load("test.lua", bytes_of("\033Lua", 4), NULL, &e));
    assert_string_equal(e.text, "test.lua: attempt to load a binary chunk (mode is 't')");
}

static void pairs_and_next_have_one_order(void **state) {
    (void)state;
    expect_loads(
        "local t = { b = 1, a = 2, [10] = 3, [2] = 4, [-1] = 5, [1.5] = 6, [0.5] = 7, [true] = 8, [false] = 9,\n"
        "  ab = 10, ['a\\0'] = 11, [''] = 12, 13 }\n"
        "local keys = {} for k in pairs(t) do keys[#keys + 1] = tostring(k) end\n"
        "local text = table.concat(keys, ' ')\n"
        "assert(text == '-1 1 2 10 0.5 1.5  a a\\0 ab b false true', text)\n"
        "local again, k = {}, next(t)\n"
        "while k ~= nil do again[#again + 1] = tostring(k) k = next(t, k) end\n"
        "assert(table.concat(again, ' ') == text)\n"
        "assert(next({}) == nil)\n"
        "for k in pairs(t) do t[k] = nil end assert(next(t) == nil)\n"
        "local p = setmetatable({}, {__pairs = function() return function(_, k) if not k then return 1, 2 end "
        "end end})\n"
        "for k, v in pairs(p) do assert(k == 1 and v == 2) end\n");
    expect_error("\nfor k in pairs { [{}] = 1 } do end",
                 "test.lua:2: a table is a key of this table: such keys have no order, so the table cannot be walked "
                 "through");
    expect_error("\nlocal x = next({ [print] = 1 })", "test.lua:2: a function is a key of this table...");
}

static void a_key_cleared_during_pairs_is_skipped(void **state) {
    (void)state;
    expect_loads("local t, seen = { a = 1, b = 2, c = 3 }, {}\n"
                 "for k in pairs(t) do seen[#seen + 1] = k t.b = nil end\n"
                 "assert(table.concat(seen) == 'ac')");
}

static void sort_is_stable(void **state) {
    (void)state;
    expect_loads("local t = {} for i = 1, 300 do t[i] = { key = (i * 7919) % 10, place = i } end\n"
                 "table.sort(t, function(a, b) return a.key < b.key end)\n"
                 "for i = 2, #t do\n"
                 "  assert(t[i - 1].key < t[i].key or (t[i - 1].key == t[i].key and t[i - 1].place < t[i].place))\n"
                 "end\n"
                 "local n = { 3, 1, 2 } table.sort(n) assert(table.concat(n) == '123')\n"
                 "local s = { 'b', 'a', 'B' } table.sort(s) assert(table.concat(s) == 'Bab')\n"
                 "local broken = { 2, 1, 3 }\n"
                 "assert(not pcall(table.sort, broken, function() error('x') end))\n"
                 "assert(table.concat(broken) == '213')\n"
                 "table.sort({ 3, 1, 2 }, function() return true end)");
    expect_error("table.sort { 1, 'a' }", "test.lua:1: attempt to compare string with number");
}

static void addresses_are_never_shown(void **state) {
    (void)state;
    expect_loads("assert(tostring({}) == 'table') assert(tostring(print) == 'function')\n"
                 "assert(tostring(coroutine.create(print)) == 'thread')\n"
                 "assert(tostring(setmetatable({}, { __name = 'node' })) == 'node')\n"
                 "assert(tostring(setmetatable({}, { __tostring = function() return 'n1' end })) == 'n1')\n"
                 "assert(string.format('%s %s', {}, print) == 'table function')\n"
                 "assert(string.format('%s %5s|%d%%', nil, true, 3) == 'nil  true|3%')\n"
                 "assert(tostring(1) == '1' and tostring(1.0) == '1.0' and tostring('x') == 'x')\n"
                 "assert(tostring(register {}) == 'harrow.workload')\n"
                 "assert(tostring(0/0) == 'nan' and tostring(-(0/0)) == 'nan')\n"
                 "assert(string.format('%.1f', 0/0) == string.format('%.1f', -(0/0)))\n"
                 "local ok, why = pcall(error, {}) assert(tostring(why) == 'table')");
    expect_error("string.format('%p', {})",
                 "test.lua:1: string.format: %p is not there in a scenario: addresses differ from run to run");
    expect_error("string.format('%-20p', print)", "test.lua:1: string.format: %p ...");
    expect_error("error({})", "test.lua:1: an error was raised with a table instead of a text");
    expect_error("error(print)", "test.lua:1: an error was raised with a function instead of a text");
    expect_error("error()", "test.lua:1: an error was raised with a nil instead of a text");
}

static void power_is_refused_at_load(void **state) {
    (void)state;
    expect_error("local x = 1\nlocal y = x ^ 2",
                 "test.lua:2: '^' is not there in a scenario: its result differs between processors; multiply");
    expect_error("-- a ^ b\nlocal s = '^' .. \"^\" .. [[ ^ ]] .. [==[ ^ ]] ]==]\n--[[ ^\n ^ ]] local z = 2^3",
                 "test.lua:4: '^' ...");
    expect_loads("local s = ('a^b'):find('^a') --[==[ x ^ ]] y ^ ]==] local t = '\\'^' .. \"\\\"^\"");
}

static void math_is_exact_everywhere(void **state) {
    (void)state;
    expect_loads(
        "for _, name in ipairs { 'exp', 'log', 'sin', 'cos', 'tan', 'asin', 'acos', 'atan', 'pow', 'deg', 'rad' } do\n"
        "  assert(not pcall(function() return math[name](1) end), name)\n"
        "end\n"
        "assert(math.sqrt(16) == 4 and math.floor(1.5) == 1 and math.ceil(1.5) == 2 and math.fmod(7, 3) == 1)\n"
        "assert(math.max(1, 2) == 2 and math.min(1, 2) == 1 and math.abs(-1) == 1 and math.type(1) == 'integer')\n"
        "assert(math.tointeger(3.0) == 3 and math.ult(1, -1) and math.huge > math.maxinteger)");
    expect_error("\nlocal x = math.exp(1)",
                 "test.lua:2: math.exp is not there in a scenario: its result differs between processors");
}

static void draws_come_from_the_seed(void **state) {
    (void)state;
    const char *text = "local t = { math.random(), random(100), random(5, 9), exponential(2), uniform(1, 3),\n"
                       "  tostring(chance(0.5)), choose { 1, 2, 3 }, table.concat(shuffle { 1, 2, 3, 4, 5 }, ','),\n"
                       "  table.concat(subset({ 1, 2, 3, 4 }), ',') }\n"
                       "return { doc = table.concat(t, ' '), workload = register {} }";
    struct error e = {""};
    char docs[3][300];
    for (uint64_t i = 0; i < 3; i++) {
        struct script_options o = {.seed = i / 2};
        struct script *s = load_text(text, &o, &e);
        if (!s) fail_msg("%s", e.text);
        snprintf(docs[i], sizeof docs[i], "%s", script_scenario(s)->doc);
        script_free(s);
    }
    assert_string_equal(docs[0], docs[1]);
    assert_string_not_equal(docs[0], docs[2]);
    expect_error("math.randomseed(1)",
                 "test.lua:1: math.randomseed is not there in a scenario: the run's seed decides every draw");
}

static void draws_have_their_distributions(void **state) {
    (void)state;
    expect_loads("local n, sum, low, high = 20000, 0, math.huge, 0\n"
                 "for i = 1, n do sum = sum + exponential(3) end\n"
                 "assert(math.abs(sum / n - 3) < 0.1, sum / n)\n"
                 "sum = 0\n"
                 "for i = 1, n do local x = uniform(2, 4) assert(x >= 2 and x <= 4) sum = sum + x end\n"
                 "assert(math.abs(sum / n - 3) < 0.05)\n"
                 "local hits = 0 for i = 1, n do if chance(0.25) then hits = hits + 1 end end\n"
                 "assert(math.abs(hits / n - 0.25) < 0.02)\n"
                 "local counts = { 0, 0, 0 }\n"
                 "for i = 1, n do local x = choose { 1, 2, 3 } counts[x] = counts[x] + 1 end\n"
                 "for i = 1, 3 do assert(math.abs(counts[i] / n - 1 / 3) < 0.02) end\n"
                 "local firsts = { 0, 0, 0, 0 }\n"
                 "for i = 1, n do local x = shuffle({ 1, 2, 3, 4 })[2] firsts[x] = firsts[x] + 1 end\n"
                 "for i = 1, 4 do assert(math.abs(firsts[i] / n - 0.25) < 0.02) end\n"
                 "for i = 1, 100 do\n"
                 "  local s = subset({ 'a', 'b', 'c', 'd' }) assert(#s >= 1 and #s <= 4)\n"
                 "  for k = 2, #s do assert(s[k - 1] < s[k]) end\n"
                 "  assert(#subset({ 1, 2, 3 }, 2) == 2) assert(#subset({ 1, 2, 3 }, 0, 1) <= 1)\n"
                 "end\n"
                 "assert(not chance(0) and chance(1)) assert(exponential(0) == 0) assert(uniform(2, 2) == 2)");
    expect_error("chance(2)", "test.lua:1: chance: a probability from 0 to 1 is needed, not 2");
    expect_error("choose {}", "test.lua:1: choose: the list is empty");
    expect_error("choose(1)", "test.lua:1: choose: a list is needed, not a number");
    expect_error("subset({ 1 }, 2)", "test.lua:1: subset: from 2 to 2 elements cannot be taken out of 1");
    expect_error("uniform(2, 1)", "test.lua:1: uniform: the low end 2 is above the high end 1");
    expect_error("exponential(-1)", "test.lua:1: exponential: -1 seconds are out of range");
    expect_error("exponential('x')", "test.lua:1: exponential: a number of seconds is needed, not a string");
    expect_error("random(3, 1)", "test.lua:1: random: the interval from 3 to 1 is empty");
}

static void globals_must_be_declared(void **state) {
    (void)state;
    expect_error("\ncount = 1", "test.lua:2: assignment to undeclared global 'count'; write local");
    expect_error("local function f()\n  total = 1\nend\nf()",
                 "test.lua:2: assignment to undeclared global 'total'; write local");
    expect_error("function helper() end", "test.lua:1: assignment to undeclared global 'helper'; write local");
    expect_error("\nlocal x = partitoin.halves()",
                 "test.lua:2: undeclared global 'partitoin'; did you mean 'partition'?");
    expect_error("local x = nothing_like_it",
                 "test.lua:1: undeclared global 'nothing_like_it'; if it is yours, declare it with local above its "
                 "first use");
    expect_error("local m = getmetatable(_G)\nm.__newindex = nil",
                 "test.lua:2: attempt to index a boolean value (local 'm')");
}

static void memory_management_does_not_show(void **state) {
    (void)state;
    expect_error("\nsetmetatable({}, { __gc = print })",
                 "test.lua:2: __gc is not there in a scenario: it would show when memory is freed");
    expect_error("\nlocal m = {}\nm.__mode = 'k'", "test.lua:3: __mode is not there...");
    expect_error("setmetatable({}, { ['__' .. 'mode'] = 'k' })",
                 "test.lua:1: a metatable in a scenario may not have __mode: it would show when memory is freed");
    expect_error("setmetatable({}, { ['__' .. 'gc'] = 1 })",
                 "test.lua:1: a metatable in a scenario may not have __gc...");
    expect_loads("local t = setmetatable({}, { __index = function(_, k) return k end }) assert(t.x == 'x')\n"
                 "assert(getmetatable(setmetatable({}, nil)) == nil)");
}

static void errors_name_file_and_line(void **state) {
    (void)state;
    expect_error("\n\nlocal x = nil + 1", "test.lua:3: attempt to perform arithmetic on a nil value");
    expect_error("\nerror('broken')", "test.lua:2: broken");
    expect_error("\nerror('broken', 0)", "test.lua:2: broken");
    expect_error("local x = = 1", "test.lua:1: unexpected symbol near '='");
    expect_error("\nsleep(1)", "test.lua:2: sleep works only while a nemesis runs");
    expect_error("\ncoroutine.yield(1)",
                 "test.lua:2: a file only returns its table; coroutine.yield has nobody to yield to here");
    struct error e = {""};
    const char *long_name = "a/very/long/path/that/lua/would/shorten/in/its/messages/because/it/has/limits/test.lua";
    assert_null(script_load(long_name, bytes_str("\nerror('x')"), NULL, &e));
    char expected[200];
    snprintf(expected, sizeof expected, "%s:2: x", long_name);
    assert_string_equal(e.text, expected);
    assert_null(script_load(long_name, bytes_str("x x"), NULL, &e));
    assert_memory_equal(e.text, long_name, strlen(long_name));
}

static void a_thawed_state_is_like_a_fresh_one(void **state) {
    (void)state;
    const char *text = "local p = partition.halves() local t = {}\n"
                       "string.mine = 1 string.format = nil table.insert(t, 1) assert(#t == 1)";
    for (int i = 0; i < 3; i++) expect_loads(text);
    expect_loads("assert(string.mine == nil) assert(string.format('%d', 1) == '1')");
    struct error e = {""};
    struct script *a = load_text("local x = 1", NULL, &e), *b = load_text("local y = 2", NULL, &e);
    assert_non_null(a);
    assert_non_null(b);
    script_free(a);
    script_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_loops_end),
        cmocka_unit_test(pcall_does_not_swallow_the_budget),
        cmocka_unit_test(pcall_and_xpcall_work_as_in_the_manual),
        cmocka_unit_test(coroutines_share_the_budget),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(tiny_memory_is_an_error),
        cmocka_unit_test(library_calls_are_bounded),
        cmocka_unit_test(patterns_are_bounded),
        cmocka_unit_test(patterns_match_as_in_the_manual),
        cmocka_unit_test(the_machine_is_out_of_reach),
        cmocka_unit_test(pairs_and_next_have_one_order),
        cmocka_unit_test(a_key_cleared_during_pairs_is_skipped),
        cmocka_unit_test(sort_is_stable),
        cmocka_unit_test(addresses_are_never_shown),
        cmocka_unit_test(power_is_refused_at_load),
        cmocka_unit_test(math_is_exact_everywhere),
        cmocka_unit_test(draws_come_from_the_seed),
        cmocka_unit_test(draws_have_their_distributions),
        cmocka_unit_test(globals_must_be_declared),
        cmocka_unit_test(memory_management_does_not_show),
        cmocka_unit_test(errors_name_file_and_line),
        cmocka_unit_test(a_thawed_state_is_like_a_fresh_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
