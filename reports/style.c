/* How the page looks and what little it does by itself: one palette in a light and a dark coat, one style sheet, one
 * script (copy button, time cursor across the charts, rows and bars that light up together, filters). */
#include "reports/internal.h"

#define NUMBER(macro) DIGITS(macro)
#define DIGITS(digits) #digits

/* Operations are blue, purple and orange after Okabe and Ito (2008), so that they differ for every kind of eye; they
 * also differ in shape or word wherever they appear. */
const struct colour palette[] = {
    {"page", "#f4f5f7", "#0d1117"},     {"card", "#fdfdfe", "#161b22"},   {"sunk", "#eef0f3", "#0f141a"},
    {"line", "#dfe3e8", "#2b323b"},     {"ink", "#1b2330", "#e3e8ef"},    {"muted", "#5a6474", "#98a3b1"},
    {"good", "#18794b", "#3fb57a"},     {"bad", "#c02a37", "#f2646f"},    {"unsure", "#a0640a", "#e2aa45"},
    {"ok", "#2f78b7", "#5aa6e0"},       {"fail", "#b5518c", "#dc83b4"},   {"info", "#d08a12", "#e9b14e"},
    {"p50", "#16324f", "#d5e6f7"},      {"p99", "#0e8a8a", "#3fcaca"},    {"lead", "#5560c4", "#8790ee"},
    {"lead2", "#7f88d8", "#646dc6"},    {"curve0", "#2f79b8", "#5aa7e1"}, {"curve1", "#d08b13", "#e9b24f"},
    {"curve2", "#b5528d", "#dc84b5"},   {"curve3", "#18784a", "#3fb47b"}, {"curve4", "#5561c5", "#8791ef"},
    {"curve5", "#7a5a3a", "#c49f78"},   {"rateok", "#5c98cb", "#3a78ad"}, {"ratefail", "#c476a6", "#a35888"},
    {"rateinfo", "#dca445", "#b98a35"}, {"late", "#6b7480", "#8d97a4"},
};
const size_t palette_count = sizeof palette / sizeof *palette;

const char *palette_light(const char *name) {
    size_t i = 0;
    while (i < palette_count && strcmp(palette[i].name, name) != 0) i++;
    assert(i < palette_count);
    return palette[i].light;
}

static const char sheet[] =
    "*{box-sizing:border-box}\n"
    "html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,"
    "'Helvetica Neue',Arial,sans-serif}\n"
    "main,.inside{max-width:1240px;margin:0 auto;padding:0 24px}\n"
    "code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans "
    "Mono',monospace;font-size:.88em;"
    "unicode-bidi:isolate}\n"
    "a{color:var(--ok);text-decoration-thickness:1px;text-underline-offset:2px}\n"
    ".n{white-space:nowrap}\n"
    ".quiet{color:var(--muted)}\n"
    ".cut{color:var(--muted);font-style:italic}\n"
    /* the banner */
    ".banner{color:#fff;padding:26px 0 24px}\n"
    ".banner.valid{background:#17714a}\n.banner.invalid{background:#b3242f}\n.banner.unknown{background:#9a5f08}\n"
    "@media(prefers-color-scheme:dark){.banner.valid{background:#125c3b}.banner.invalid{background:#97202a}"
    ".banner.unknown{background:#7f4f09}}\n"
    ".banner .over{margin:0;font-size:13px;letter-spacing:.02em;opacity:.86;overflow-wrap:anywhere}\n"
    ".banner h1{margin:2px 0 0;font-size:34px;line-height:1.2;font-weight:650;letter-spacing:-.01em}\n"
    ".banner h1 svg{width:30px;height:30px;vertical-align:-4px;margin-right:12px}\n"
    ".banner .why{margin:8px 0 0;font-size:17px;line-height:1.45;max-width:95ch;overflow-wrap:anywhere}\n"
    ".banner .during{margin:6px 0 0;font-size:14px;opacity:.92}\n"
    ".replay{display:flex;align-items:stretch;margin-top:18px;background:rgba(0,0,0,.24);border-radius:8px;"
    "overflow:hidden;width:fit-content;max-width:100%}\n"
    ".replay b{padding:9px 0 9px 14px;font-size:13px;font-weight:600;opacity:.85;white-space:nowrap}\n"
    ".replay code{padding:9px 14px;font-size:13.5px;white-space:pre-wrap;overflow-wrap:anywhere}\n"
    ".replay button{border:0;background:rgba(255,255,255,.16);color:#fff;font:600 13px system-ui,sans-serif;"
    "padding:0 16px;cursor:pointer;min-width:76px}\n"
    ".replay button:hover{background:rgba(255,255,255,.28)}\n"
    /* cards */
    "section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 24px 22px;margin:18px "
    "0}\n"
    "section>h2{margin:0 0 14px;font-size:18px;font-weight:650;letter-spacing:-.005em}\n"
    "section h3{margin:22px 0 8px;font-size:14px;font-weight:650}\n"
    "section h3:first-child{margin-top:0}\n"
    "h2 small,h3 small{font-weight:400;font-size:13px;color:var(--muted);margin-left:8px}\n"
    ".bad-edge{border-left:4px solid var(--bad)}\n.unsure-edge{border-left:4px solid var(--unsure)}\n"
    ".facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(172px,1fr));gap:14px 24px;margin:0}\n"
    ".facts div{min-width:0}\n"
    ".facts dt{font-size:12px;color:var(--muted)}\n"
    ".facts dd{margin:0;font-size:15px;font-weight:550;overflow-wrap:anywhere}\n"
    ".facts dd small{font-weight:400;color:var(--muted)}\n"
    ".doc{margin:0 0 16px;max-width:90ch;font-size:15px}\n"
    ".share{display:flex;height:8px;border-radius:4px;overflow:hidden;margin:18px 0 "
    "6px;gap:2px;background:var(--sunk)}\n"
    ".share i{display:block;min-width:3px}\n"
    ".legend{display:flex;gap:6px 22px;flex-wrap:wrap;font-size:13px;color:var(--muted);margin:0}\n"
    ".legend b{color:var(--ink);font-weight:600}\n"
    ".dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px;vertical-align:-.5px}\n"
    /* tables */
    ".wide{overflow-x:auto;margin:0 -4px;padding:0 4px}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px}\n"
    "th{text-align:left;font-size:12px;font-weight:500;color:var(--muted);padding:4px 20px 6px 0;"
    "border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "td{padding:7px 20px 7px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}\n"
    "tr:last-child td{border-bottom:0}\n"
    "th.r,td.r{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    "td.t{font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    "td.k{white-space:nowrap;font-weight:550}\n"
    "table.fit .r,table.fit .t{width:1%}\n"
    "tr.hot td{background:var(--sunk)}\n"
    ".chip{display:inline-block;padding:0 9px;border-radius:10px;font-size:12.5px;line-height:20px;font-weight:600;"
    "white-space:nowrap;border:1px solid currentColor}\n"
    ".chip.valid{color:var(--good)}\n.chip.invalid{color:#fff;background:#b3242f;border-color:#b3242f}\n"
    ".chip.unknown{color:var(--unsure)}\n"
    ".chip.ok{color:var(--ok)}\n.chip.fail{color:var(--fail)}\n.chip.info,.chip.pending{color:var(--info)}\n"
    ".more{color:var(--muted);font-size:13.5px;margin:8px 0 0}\n"
    ".note{color:var(--muted);font-size:13px;margin:6px 0 16px}\n"
    ".missing{border:1px dashed var(--line);border-radius:8px;padding:16px 18px;color:var(--muted);font-size:14px}\n"
    "pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;background:var(--sunk);border-radius:8px;"
    "padding:14px 16px;line-height:1.5;tab-size:4}\n"
    "pre.why{border-left:3px solid var(--bad);border-radius:0 8px 8px 0;margin:0 0 6px}\n"
    ".unsure-edge pre.why{border-left-color:var(--unsure)}\n"
    "p.lead{margin:0 0 12px;font-size:16px;max-width:100ch;overflow-wrap:anywhere;white-space:pre-wrap}\n"
    "pre.source{counter-reset:line;max-height:720px;overflow:auto}\n"
    "pre.source span{display:block;padding-left:52px;position:relative}\n"
    "pre.source span::before{counter-increment:line;content:counter(line);position:absolute;left:0;width:36px;"
    "text-align:right;color:var(--muted);opacity:.7}\n"
    "details summary{cursor:pointer;font-size:18px;font-weight:650}\n"
    "summary small{font-weight:400;font-size:13px;margin-left:8px}\n"
    "details[open] summary{margin-bottom:14px}\n"
    ".logs{max-height:420px;overflow:auto}\n"
    "input[type=search]{font:14px system-ui,sans-serif;padding:5px 10px;border:1px solid var(--line);border-radius:7px;"
    "background:var(--sunk);color:var(--ink);float:right;width:220px;max-width:50%;margin-top:-4px}\n"
    ".files{columns:3 260px;margin:0;padding:0;list-style:none}\n"
    ".files li{margin:0 0 5px;break-inside:avoid}\n"
    ".files small{color:var(--muted);margin-left:6px}\n"
    "footer{color:var(--muted);font-size:13px;padding:4px 0 36px}\n"
    /* charts */
    "svg.time,svg.plot{display:block;width:100%;height:auto;color:var(--ink)}\n"
    ".chart{margin:0 0 18px}\n.chart:last-child{margin-bottom:0}\n"
    "svg text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:12px;fill:var(--ink)}\n"
    "svg text.row{text-anchor:end;fill:var(--ink)}\n"
    "svg text.tick,svg.plot text{fill:var(--muted)}\n"
    "svg text.tick{text-anchor:middle}\n"
    "svg .grid{stroke:var(--line);fill:none;stroke-width:.8}\n"
    "svg .track{fill:var(--sunk)}\n"
    "svg .window{fill:var(--bad);fill-opacity:.1;stroke:var(--bad);stroke-width:1;pointer-events:none}\n"
    "svg .late{fill:var(--late);fill-opacity:.3;pointer-events:none}\n"
    "svg .down{fill:url(#down);stroke:var(--muted);stroke-width:.6}\n"
    "svg .hatch{stroke:var(--muted);stroke-width:1.4}\n"
    "svg .lead{fill:var(--lead)}\nsvg .lead2{fill:var(--lead2)}\nsvg .candidate{fill:var(--info)}\n"
    "svg .none{fill:var(--bad);fill-opacity:.75}\n"
    "svg text.in{fill:#fff;font-size:11px;font-weight:600;text-anchor:middle;pointer-events:none}\n"
    ".lanes{overflow-x:auto}\n"
    ".lanes svg{display:block;color:var(--ink);min-width:760px}\n"
    ".lanes .lane{stroke:var(--line)}\n"
    ".lanes .op rect{fill-opacity:.17;stroke-width:1.3}\n"
    ".lanes .op text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans "
    "Mono',monospace;font-size:11.5px}\n"
    ".lanes .op.ok rect,.lanes .op.ok path{fill:var(--ok);stroke:var(--ok)}\n"
    ".lanes .op.fail rect,.lanes .op.fail path{fill:var(--fail);stroke:var(--fail)}\n"
    ".lanes .op.info rect,.lanes .op.info path,.lanes .op.pending rect,.lanes .op.pending path{fill:var(--info);"
    "stroke:var(--info)}\n"
    ".lanes .op.info rect,.lanes .op.pending rect{stroke-dasharray:4 3}\n"
    ".lanes .op path{fill:none!important;stroke-width:1.3;stroke-dasharray:2 4}\n"
    ".lanes .op.hot rect{fill-opacity:.42;stroke-width:2}\n"
    ".lanes .fault text{font-size:11px;fill:var(--ink)}\n"
    "svg .cursor{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 3;opacity:.55;pointer-events:none;"
    "visibility:hidden}\n"
    "svg text.at{text-anchor:middle;font-weight:600;visibility:hidden;pointer-events:none;paint-order:stroke;"
    "stroke:var(--card);stroke-width:5px}\n"
    "@media(max-width:700px){main,.inside{padding:0 12px}section{padding:16px}.banner h1{font-size:28px}}\n"
    "@media print{body{background:#fff}section{break-inside:avoid}.replay button,input{display:none}}\n";

void style_print(struct buffer *out) {
    buffer_printf(out, "<style>\n:root{color-scheme:light dark");
    for (size_t i = 0; i < palette_count; i++) buffer_printf(out, ";--%s:%s", palette[i].name, palette[i].light);
    buffer_printf(out, "}\n@media(prefers-color-scheme:dark){:root{");
    for (size_t i = 0; i < palette_count; i++)
        buffer_printf(out, "%s--%s:%s", i ? ";" : "", palette[i].name, palette[i].dark);
    buffer_printf(out, "}}\n%s</style>\n", sheet);
}

const char page_script[] =
    "<script>\n(() => {\n"
    "const all = (query, root = document) => [...root.querySelectorAll(query)];\n"
    "for (const button of all('.replay button')) button.onclick = async () => {\n"
    "  const code = button.parentNode.querySelector('code');\n"
    "  try { await navigator.clipboard.writeText(code.textContent); }\n"
    "  catch (e) { getSelection().selectAllChildren(code); document.execCommand('copy'); }\n"
    "  button.textContent = 'Copied';\n"
    "  setTimeout(() => button.textContent = 'Copy', 1500);\n"
    "};\n"
    "const make = (chart, name, set) => {\n"
    "  const it = document.createElementNS(chart.namespaceURI, name);\n"
    "  for (const key in set) it.setAttribute(key, set[key]);\n"
    "  return chart.appendChild(it);\n"
    "};\n"
    "const charts = all('svg.time').map(svg => ({svg,\n"
    "  line: make(svg, 'line', {class: 'cursor', y1: 0, y2: svg.dataset.bottom}),\n"
    "  text: make(svg, 'text', {class: 'at', y: +svg.dataset.bottom + 16})}));\n"
    "const show = (chart, x, label) => {\n"
    "  for (const it of [chart.line, chart.text]) it.style.visibility = label ? 'visible' : 'hidden';\n"
    "  chart.line.setAttribute('x1', x); chart.line.setAttribute('x2', x);\n"
    "  chart.text.setAttribute('x', x); chart.text.textContent = label;\n"
    "};\n"
    "for (const chart of charts) {\n"
    "  chart.svg.onpointermove = e => {\n"
    "    const box = chart.svg.getBoundingClientRect(), left = " NUMBER(CHART_LEFT) ", right = " NUMBER(
        CHART_RIGHT) ";\n"
                     "    const x = Math.min(right, Math.max(left, (e.clientX - box.left) / box.width * " NUMBER(
                         CHART_WIDTH) "));\n"
                                      "    const at = (x - left) / (right - left) * chart.svg.dataset.end;\n"
                                      "    for (const other of charts) show(other, x, at.toFixed(3) + ' s');\n"
                                      "  };\n"
                                      "  chart.svg.onpointerleave = () => charts.forEach(other => show(other, 0, "
                                      "''));\n"
                                      "}\n"
                                      "const glow = (e, on) => {\n"
                                      "  const it = e.target.closest && e.target.closest('[data-op]');\n"
                                      "  if (it) all('[data-op=\"' + it.dataset.op + '\"]').forEach(same => "
                                      "same.classList.toggle('hot', on));\n"
                                      "};\n"
                                      "addEventListener('mouseover', e => glow(e, true));\n"
                                      "addEventListener('mouseout', e => glow(e, false));\n"
                                      "for (const input of all('input[type=search]')) input.oninput = () => {\n"
                                      "  const wanted = input.value.toLowerCase();\n"
                                      "  for (const row of all('tbody tr', input.closest('section')))\n"
                                      "    row.hidden = !row.textContent.toLowerCase().includes(wanted);\n"
                                      "};\n"
                                      "})();\n</script>\n";
