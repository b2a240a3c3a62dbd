/* The clock in our hand. At the exec stop of a traced child its vDSO is found by the auxiliary vector, a stub and a
 * parameter block are written behind the vDSO's last byte (its pages are the child's own once written to), and the
 * entry points for clock_gettime, gettimeofday and time become jumps to the stub. /proc/PID/mem stays open: a change of
 * the clock is two small writes, first the slot of parameters that is not in use, then the byte that selects it.
 *
 * The program given to process_start is patched (of a script: its interpreter), and what it forks starts with the clock
 * as it is then. A program that executes another one gets a vDSO afresh; then process_clock says so. */
#include "nemesis/process/internal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define IMAGE_BYTES_MAX (UINT64_C(64) << 10)
#define PAGE_BYTES UINT64_C(4096)
#define JUMP_BYTES 5
#define OFFSET_NS_MAX (INT64_C(1) << 62) /* so that no sum with a present clock overflows */

/* What the stub reads; it knows these offsets. */
struct clock_line { /* one clock's reading c becomes c + add_ns + (c - base_ns) * drift_ppm / 1e6 */
    int64_t base_ns, add_ns;
};
struct clock_slot {
    int64_t drift_ppm;
    struct clock_line lines[CLOCK_LINES];
};
struct clock_block {
    uint8_t generation; /* its lowest bit selects the slot */
    uint8_t padding[15];
    int8_t line_of[16]; /* by clock id: 16 times the index of its line, or -1 */
    struct clock_slot slots[2];
};
_Static_assert(sizeof(struct clock_slot) == 88 && offsetof(struct clock_block, slots) == 32, "the stub's offsets");

static const clockid_t line_clocks[CLOCK_LINES] = {CLOCK_REALTIME, CLOCK_TAI, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW,
                                                   CLOCK_BOOTTIME};
#define WALL_LINES 2 /* the first of them take the offset */

#ifdef __x86_64__

/* clock_gettime(edi, rsi): asks the kernel, then bends. A slot read while the generation changed is read again.
 * gettimeofday(rdi, rsi) and time(rdi) are made of it. Only registers that calls may change are changed. */
__asm__(".pushsection .rodata\n"
        ".globl clock_stub, clock_stub_gettimeofday, clock_stub_time, clock_stub_end\n"
        ".hidden clock_stub, clock_stub_gettimeofday, clock_stub_time, clock_stub_end\n"
        ".intel_syntax noprefix\n"
        "clock_stub:\n"
        "    mov eax, 228\n" /* __NR_clock_gettime */
        "    syscall\n"
        "    test eax, eax\n"
        "    jnz 3f\n"
        "    cmp edi, 15\n"
        "    ja 3f\n"
        "    mov edi, edi\n"
        "    lea r8, [rip + clock_stub_end]\n" /* the block follows the stub */
        "    movsx ecx, byte ptr [r8 + rdi + 16]\n"
        "    test ecx, ecx\n"
        "    js 3f\n"
        "    imul r9, [rsi], 1000000000\n"
        "    add r9, [rsi + 8]\n"
        "1:  movzx edi, byte ptr [r8]\n"
        "    mov r11d, edi\n"
        "    and r11d, 1\n"
        "    imul r11d, r11d, 88\n"
        "    lea r11, [r8 + r11 + 32]\n"
        "    mov rax, [r11]\n"
        "    mov r10, [r11 + rcx + 8]\n"
        "    mov r11, [r11 + rcx + 16]\n"
        "    cmp dil, [r8]\n"
        "    jne 1b\n"
        "    mov rdx, r9\n"
        "    sub rdx, r10\n"
        "    imul rdx\n"
        "    mov ecx, 1000000\n"
        "    idiv rcx\n"
        "    add rax, r11\n"
        "    add rax, r9\n"
        "    cqo\n"
        "    mov ecx, 1000000000\n"
        "    idiv rcx\n"
        "    test rdx, rdx\n"
        "    jns 2f\n"
        "    add rdx, rcx\n"
        "    dec rax\n"
        "2:  mov [rsi], rax\n"
        "    mov [rsi + 8], rdx\n"
        "    xor eax, eax\n"
        "3:  movsxd rax, eax\n"
        "    ret\n"
        "clock_stub_gettimeofday:\n"
        "    push rdi\n"
        "    sub rsp, 16\n"
        "    test rsi, rsi\n"
        "    jz 1f\n"
        "    xor edi, edi\n" /* the time zone is the kernel's affair */
        "    mov eax, 96\n"  /* __NR_gettimeofday */
        "    syscall\n"
        "1:  xor edi, edi\n"
        "    mov rsi, rsp\n"
        "    call clock_stub\n"
        "    mov rdi, [rsp + 16]\n"
        "    test rdi, rdi\n"
        "    jz 2f\n"
        "    mov rax, [rsp]\n"
        "    mov [rdi], rax\n"
        "    mov rax, [rsp + 8]\n"
        "    xor edx, edx\n"
        "    mov ecx, 1000\n"
        "    div rcx\n"
        "    mov [rdi + 8], rax\n"
        "2:  add rsp, 24\n"
        "    xor eax, eax\n"
        "    ret\n"
        "clock_stub_time:\n"
        "    push rdi\n"
        "    sub rsp, 16\n"
        "    mov edi, 5\n" /* CLOCK_REALTIME_COARSE, as the kernel's own */
        "    mov rsi, rsp\n"
        "    call clock_stub\n"
        "    mov rax, [rsp]\n"
        "    add rsp, 16\n"
        "    pop rdi\n"
        "    test rdi, rdi\n"
        "    jz 1f\n"
        "    mov [rdi], rax\n"
        "1:  ret\n"
        "    .balign 16\n"
        "clock_stub_end:\n"
        ".att_syntax\n"
        ".popsection\n");

extern const uint8_t clock_stub[], clock_stub_gettimeofday[], clock_stub_time[], clock_stub_end[];

static const struct entry { /* an entry point of the vDSO and what takes its place; each has an alias */
    const char *name, *alias;
    const uint8_t *replacement;
} entries[] = {{"__vdso_clock_gettime", "clock_gettime", clock_stub},
               {"__vdso_gettimeofday", "gettimeofday", clock_stub_gettimeofday},
               {"__vdso_time", "time", clock_stub_time}};
#define ENTRIES_COUNT (sizeof entries / sizeof *entries)

/* --- the vDSO ----------------------------------------------------------------------------------------------------- */

struct vdso {
    uint64_t address;           /* in the child */
    uint8_t *image;             /* up to its last byte; owned */
    uint64_t image_bytes;       /* a multiple of 16, what is behind is free up to the end of the page */
    uint64_t at[ENTRIES_COUNT]; /* offsets of the entry points */
};

static uint64_t vdso_address(pid_t pid) {
    char path[64];
    Elf64_auxv_t entry;
    snprintf(path, sizeof path, "/proc/%d/auxv", pid);
    FILE *f = fopen(path, "re");
    uint64_t address = 0;
    while (f && fread(&entry, sizeof entry, 1, f) == 1)
        if (entry.a_type == AT_SYSINFO_EHDR) address = entry.a_un.a_val;
    if (f) fclose(f);
    return address;
}

static bool range_inside(const struct vdso *v, uint64_t offset, uint64_t size) {
    return offset <= v->image_bytes && size <= v->image_bytes - offset;
}

static bool names_entry(const struct vdso *v, const Elf64_Shdr *strings, uint32_t name, const struct entry *entry) {
    if (name >= strings->sh_size) return false;
    const char *text = (const char *)v->image + strings->sh_offset + name;
    if (!memchr(text, 0, strings->sh_size - name)) return false;
    return strcmp(text, entry->name) == 0 || strcmp(text, entry->alias) == 0;
}

static bool find_symbols(struct vdso *v, const Elf64_Shdr *table, const Elf64_Shdr *strings) {
    size_t found = 0;
    for (uint64_t i = 0; i < table->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, v->image + table->sh_offset + i * sizeof symbol, sizeof symbol);
        for (size_t k = 0; k < ENTRIES_COUNT; k++) {
            if (symbol.st_value == 0 || !names_entry(v, strings, symbol.st_name, &entries[k])) continue;
            if (symbol.st_size < JUMP_BYTES || !range_inside(v, symbol.st_value, JUMP_BYTES)) continue;
            found += v->at[k] == 0;
            v->at[k] = symbol.st_value;
        }
    }
    return found == ENTRIES_COUNT;
}

/* Reads the image, whose section headers are its last part, and finds the entry points. */
static bool read_vdso(struct vdso *v, int memory) {
    Elf64_Ehdr header;
    if (pread(memory, &header, sizeof header, (off_t)v->address) != (ssize_t)sizeof header) return false;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64) return false;
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shoff > IMAGE_BYTES_MAX) return false;
    v->image_bytes = (header.e_shoff + (uint64_t)header.e_shnum * sizeof(Elf64_Shdr) + 15) / 16 * 16;
    v->image = xmalloc(v->image_bytes);
    if (pread(memory, v->image, v->image_bytes, (off_t)v->address) != (ssize_t)v->image_bytes) return false;
    for (uint32_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr table, strings;
        memcpy(&table, v->image + header.e_shoff + i * sizeof table, sizeof table);
        if (table.sh_type != SHT_DYNSYM || table.sh_link >= header.e_shnum) continue;
        memcpy(&strings, v->image + header.e_shoff + table.sh_link * sizeof strings, sizeof strings);
        return range_inside(v, table.sh_offset, table.sh_size) && range_inside(v, strings.sh_offset, strings.sh_size) &&
               find_symbols(v, &table, &strings);
    }
    return false;
}

static bool write_all(int memory, uint64_t address, const void *data, size_t size) {
    return pwrite(memory, data, size, (off_t)address) == (ssize_t)size;
}

static bool write_stub(struct process *p, const struct vdso *v) {
    size_t stub_bytes = (size_t)(clock_stub_end - clock_stub);
    uint64_t free_bytes = PAGE_BYTES - v->image_bytes % PAGE_BYTES, stub = v->address + v->image_bytes;
    struct clock_block block = {.line_of = {0, 32, -1, -1, 48, 0, 32, 64, 0, 64, -1, 16, -1, -1, -1, -1}};
    if (v->image_bytes % PAGE_BYTES == 0 || stub_bytes + sizeof block > free_bytes) return false;
    p->clock_block = stub + stub_bytes;
    if (!write_all(p->memory, p->clock_block, &block, sizeof block)) return false;
    if (!write_all(p->memory, stub, clock_stub, stub_bytes)) return false;
    for (size_t k = 0; k < ENTRIES_COUNT; k++) {
        uint64_t target = v->image_bytes + (uint64_t)(entries[k].replacement - clock_stub);
        int32_t distance = (int32_t)((int64_t)target - (int64_t)(v->at[k] + JUMP_BYTES));
        uint8_t jump[JUMP_BYTES] = {0xe9}; /* jmp rel32 */
        memcpy(jump + 1, &distance, sizeof distance);
        if (!write_all(p->memory, v->address + v->at[k], jump, sizeof jump)) return false;
    }
    return true;
}

static int patch_stopped(struct process *p, struct error *e) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", p->pid);
    p->memory = open(path, O_RDWR | O_CLOEXEC);
    if (p->memory < 0) return error_set(e, "%s: its clock cannot be reached: %s: %s", p->name, path, strerror(errno));
    struct vdso v = {.address = vdso_address(p->pid)};
    bool patched = v.address && read_vdso(&v, p->memory) && write_stub(p, &v);
    free(v.image);
    if (patched) return 0;
    return error_set(e, "%s: its clock cannot be patched: no 64-bit vDSO with room for it; leave clock faults out",
                     p->name);
}

int clock_patch(struct process *p, struct error *e) {
    int status;
    for (;;) { /* a signal from elsewhere may come first, and is let through */
        if (waitpid(p->pid, &status, __WALL) < 0) {
            if (errno == EINTR) continue;
            return error_set(e, "%s: waiting for its start: %s", p->name, strerror(errno));
        }
        if (!WIFSTOPPED(status)) {
            p->ended = true;
            p->status = status;
            return error_set(e, "%s: died as it was started", p->name);
        }
        if (WSTOPSIG(status) == SIGTRAP) break;
        ptrace(PTRACE_CONT, p->pid, NULL, WSTOPSIG(status));
    }
    int failed = patch_stopped(p, e);
    if (ptrace(PTRACE_DETACH, p->pid, NULL, NULL) && !failed)
        failed = error_set(e, "%s: died as it was started", p->name);
    return failed;
}

const char *process_clock_unavailable(void) {
    static struct error why;
    const char *const argv[] = {"true", NULL};
    struct process_options o = {.argv = argv, .output = -1, .network = -1, .pass = -1, .patch_clock = true};
    struct process *p = process_start(&o, &why);
    if (!p) return why.text;
    process_free(p);
    return NULL;
}

#else

int clock_patch(struct process *p, struct error *e) {
    return error_set(e, "%s: %s", p->name, process_clock_unavailable());
}

const char *process_clock_unavailable(void) {
    return "clock faults of real processes need an x86-64 processor; leave them out";
}

#endif

/* --- the parameters ----------------------------------------------------------------------------------------------- */

static int64_t read_clock(clockid_t clock) {
    return (int64_t)clock_ns(clock);
}

__extension__ typedef __int128 wide;

static int64_t bend(const struct clock_slot *s, size_t line, int64_t reading_ns) {
    wide drift = (wide)(reading_ns - s->lines[line].base_ns) * s->drift_ppm;
    return s->lines[line].add_ns + (int64_t)(drift / (int64_t)PPM);
}

static uint64_t slot_address(const struct process *p, uint8_t generation) {
    return p->clock_block + offsetof(struct clock_block, slots) + (generation & 1) * sizeof(struct clock_slot);
}

static int read_slot(const struct process *p, struct clock_slot *s) {
    if (p->memory < 0) return -1;
    return pread(p->memory, s, sizeof *s, (off_t)slot_address(p, p->clock_generation)) == (ssize_t)sizeof *s ? 0 : -1;
}

int process_clock(struct process *p, struct clock_condition c, struct error *e) {
    struct clock_slot old, next = {.drift_ppm = c.drift_ppm};
    if (p->memory < 0)
        return error_set(e, "%s: was started without a clock that can be changed (patch_clock)", p->name);
    if (c.drift_ppm <= -(int32_t)PPM || c.drift_ppm >= (int32_t)PPM)
        return error_set(e, "%s: a drift of %" PRId32 " ppm is beyond what a clock here can have, +-999999", p->name,
                         c.drift_ppm);
    if (c.wall_offset_ns < -OFFSET_NS_MAX || c.wall_offset_ns > OFFSET_NS_MAX)
        return error_set(e, "%s: a wall clock cannot be off by more than 146 years", p->name);
    if (read_slot(p, &old) == 0) {
        for (size_t i = 0; i < CLOCK_LINES; i++) {
            int64_t now_ns = read_clock(line_clocks[i]), step_ns = 0;
            if (i < WALL_LINES) step_ns = c.wall_offset_ns - p->clock.wall_offset_ns;
            next.lines[i] = (struct clock_line){now_ns, bend(&old, i, now_ns) + step_ns};
        }
        uint8_t generation = (uint8_t)(p->clock_generation + 1);
        if (pwrite(p->memory, &next, sizeof next, (off_t)slot_address(p, generation)) == (ssize_t)sizeof next &&
            pwrite(p->memory, &generation, 1, (off_t)p->clock_block) == 1) {
            p->clock_generation = generation;
            p->clock = c;
            return 0;
        }
    }
    return error_set(e,
                     "%s: its clock is out of reach: it has ended, or has executed another program; name the program "
                     "that serves instead of one that starts it",
                     p->name);
}

int process_clock_read(const struct process *p, uint64_t *wall_ns, uint64_t *monotonic_ns) {
    struct clock_slot s;
    if (read_slot(p, &s)) return -1;
    int64_t wall = read_clock(CLOCK_REALTIME), monotonic = read_clock(CLOCK_MONOTONIC);
    *wall_ns = (uint64_t)(wall + bend(&s, 0, wall));
    *monotonic_ns = (uint64_t)(monotonic + bend(&s, 2, monotonic));
    return 0;
}
