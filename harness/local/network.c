/* The network of endpoints: a network namespace for each and one for the fabric, made by rtnetlink without any other
 * program. A network namespace lives as long as a descriptor, a process or a thread holds it, so nothing needs a name
 * in the file system. Each veth is made in its endpoint's namespace with its peer put into the fabric at once. */
#include "harness/local/namespaces.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS_BASE UINT32_C(0x0a4d0001) /* 10.77.0.1 */
#define ADDRESS_PREFIX 24
#define ENDPOINT_INTERFACE "eth0"
#define BRIDGE_INTERFACE "bridge0"
#define REQUEST_BYTES 1024

/* A conversation with the kernel about one network namespace: that of the thread that opened it. */
struct link {
    struct mnl_socket *socket;
    uint32_t sequence;
    char request[REQUEST_BYTES];
};

static int link_open(struct link *l, struct error *e) {
    l->sequence = 0;
    l->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (l->socket && mnl_socket_bind(l->socket, 0, MNL_SOCKET_AUTOPID) == 0) return 0;
    error_set(e, "network: netlink: %s", strerror(errno));
    if (l->socket) mnl_socket_close(l->socket);
    return -1;
}

static struct nlmsghdr *begin(struct link *l, uint16_t type, uint16_t flags) {
    struct nlmsghdr *header = mnl_nlmsg_put_header(l->request);
    header->nlmsg_type = type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    header->nlmsg_seq = ++l->sequence;
    return header;
}

/* Sends the request and waits for its acknowledgement. `what` begins the message of an error. */
static int request(struct link *l, struct nlmsghdr *header, const char *what, const char *about, struct error *e) {
    char answer[REQUEST_BYTES * 4];
    ssize_t got = mnl_socket_sendto(l->socket, header, header->nlmsg_len);
    if (got >= 0) got = mnl_socket_recvfrom(l->socket, answer, sizeof answer);
    if (got >= 0 &&
        mnl_cb_run(answer, (size_t)got, l->sequence, mnl_socket_get_portid(l->socket), NULL, NULL) >= MNL_CB_STOP)
        return 0;
    return error_set(e, "network: %s %s: %s", what, about, strerror(errno));
}

static struct ifinfomsg *begin_interface(struct link *l, uint16_t flags, struct nlmsghdr **header) {
    *header = begin(l, RTM_NEWLINK, flags);
    struct ifinfomsg *i = mnl_nlmsg_put_extra_header(*header, sizeof *i);
    i->ifi_family = AF_UNSPEC;
    return i;
}

static int set_up(struct link *l, const char *name, uint32_t bridge, struct error *e) {
    struct nlmsghdr *header;
    struct ifinfomsg *i = begin_interface(l, 0, &header);
    i->ifi_change = i->ifi_flags = IFF_UP;
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    if (bridge) mnl_attr_put_u32(header, IFLA_MASTER, bridge);
    return request(l, header, "turning on", name, e);
}

static int add_veth(struct link *l, const struct network *n, uint32_t endpoint, struct error *e) {
    struct nlmsghdr *header;
    begin_interface(l, NLM_F_CREATE | NLM_F_EXCL, &header);
    mnl_attr_put_strz(header, IFLA_IFNAME, ENDPOINT_INTERFACE);
    mnl_attr_put(header, IFLA_ADDRESS, sizeof n->mac[endpoint], n->mac[endpoint]);
    struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_strz(header, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(header, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(header, IFLA_IFNAME, n->interface[endpoint]);
    mnl_attr_put_u32(header, IFLA_NET_NS_FD, (uint32_t)n->fabric);
    mnl_attr_nest_end(header, peer);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    return request(l, header, "making the veth to", n->interface[endpoint], e);
}

static int add_bridge(struct link *l, struct error *e) {
    struct nlmsghdr *header;
    begin_interface(l, NLM_F_CREATE | NLM_F_EXCL, &header);
    mnl_attr_put_strz(header, IFLA_IFNAME, BRIDGE_INTERFACE);
    struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_strz(header, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    mnl_attr_put_u8(header, IFLA_BR_MCAST_SNOOPING, 0); /* or it would send queries of its own */
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    if (request(l, header, "making the bridge", BRIDGE_INTERFACE, e)) return -1;
    return set_up(l, BRIDGE_INTERFACE, 0, e);
}

static uint32_t address_of(uint32_t endpoint) {
    return htonl(ADDRESS_BASE + endpoint);
}

static int add_address(struct link *l, const struct network *n, uint32_t endpoint, uint32_t interface,
                       struct error *e) {
    struct nlmsghdr *header = begin(l, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *a = mnl_nlmsg_put_extra_header(header, sizeof *a);
    a->ifa_family = AF_INET;
    a->ifa_prefixlen = ADDRESS_PREFIX;
    a->ifa_index = interface;
    mnl_attr_put_u32(header, IFA_LOCAL, address_of(endpoint));
    mnl_attr_put_u32(header, IFA_ADDRESS, address_of(endpoint));
    return request(l, header, "giving out the address", n->address[endpoint], e);
}

static int add_neighbour(struct link *l, const struct network *n, uint32_t other, uint32_t interface, struct error *e) {
    struct nlmsghdr *header = begin(l, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
    struct ndmsg *neighbour = mnl_nlmsg_put_extra_header(header, sizeof *neighbour);
    neighbour->ndm_family = AF_INET;
    neighbour->ndm_ifindex = (int)interface;
    neighbour->ndm_state = NUD_PERMANENT;
    mnl_attr_put_u32(header, NDA_DST, address_of(other));
    mnl_attr_put(header, NDA_LLADDR, sizeof n->mac[other], n->mac[other]);
    return request(l, header, "introducing the neighbour", n->address[other], e);
}

/* --- settings of the namespace that the thread is in -------------------------------------------------------------- */

static int write_setting(const char *path, const char *value, struct error *e) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return 0; /* this kernel does not have what is to be set */
    bool wrote = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
    int error = errno;
    if (fd >= 0) close(fd);
    if (wrote) return 0;
    return error_set(e, "network: writing %s to %s: %s", value, path, strerror(error));
}

/* IPv6 would speak up by itself, with router solicitations and reports of multicast groups. */
static int without_ipv6(struct error *e) {
    if (write_setting("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1", e)) return -1;
    return write_setting("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1", e);
}

static int cap_back_off(uint64_t rto_max_ns, struct error *e) {
    char text[32];
    if (rto_max_ns == 0) return 0;
    snprintf(text, sizeof text, "%" PRIu64, rto_max_ns / NS_PER_MS);
    return write_setting("/proc/sys/net/ipv4/tcp_rto_max_ms", text, e);
}

/* Frames that leave must carry their checksum and fit the MTU, and those that arrive must not be put together. Turning
 * the transmit checksum off turns segmentation off with it. */
static int offload_off(const char *interface, struct error *e) {
    static const uint32_t commands[] = {ETHTOOL_STXCSUM, ETHTOOL_SGRO};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int failed = fd < 0 ? -1 : 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands && failed == 0; i++) {
        struct ethtool_value value = {.cmd = commands[i], .data = 0};
        struct ifreq r = {.ifr_data = (void *)&value};
        snprintf(r.ifr_name, sizeof r.ifr_name, "%s", interface);
        failed = ioctl(fd, SIOCETHTOOL, &r);
    }
    int error = errno;
    if (fd >= 0) close(fd);
    return failed ? error_set(e, "network: turning off offloads of %s: %s", interface, strerror(error)) : 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int open_own(void) {
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Moves the thread into a new network namespace; returns its descriptor. */
static int fresh_namespace(struct error *e) {
    if (unshare(CLONE_NEWNET))
        return error_set(e, "network: a namespace cannot be made: %s; run it inside namespaces_enter, or as root",
                         strerror(errno));
    int fd = open_own();
    return fd >= 0 ? fd : error_set(e, "network: /proc/thread-self/ns/net: %s", strerror(errno));
}

static int make_fabric(struct network *n, struct error *e) {
    n->fabric = fresh_namespace(e);
    return n->fabric < 0 ? -1 : without_ipv6(e);
}

static int furnish_endpoint(struct link *l, struct network *n, uint32_t endpoint, struct error *e) {
    if (add_veth(l, n, endpoint, e) || offload_off(ENDPOINT_INTERFACE, e) || set_up(l, "lo", 0, e) ||
        set_up(l, ENDPOINT_INTERFACE, 0, e))
        return -1;
    uint32_t interface = if_nametoindex(ENDPOINT_INTERFACE);
    if (add_address(l, n, endpoint, interface, e)) return -1;
    for (uint32_t other = 0; other < n->endpoints; other++)
        if (other != endpoint && add_neighbour(l, n, other, interface, e)) return -1;
    return 0;
}

static int make_endpoint(struct network *n, uint32_t endpoint, uint64_t rto_max_ns, struct error *e) {
    struct link l;
    n->endpoint[endpoint] = fresh_namespace(e);
    if (n->endpoint[endpoint] < 0 || without_ipv6(e) || cap_back_off(rto_max_ns, e) || link_open(&l, e)) return -1;
    int failed = furnish_endpoint(&l, n, endpoint, e);
    mnl_socket_close(l.socket);
    return failed;
}

static int join_fabric(struct network *n, bool bridge, struct error *e) {
    struct link l;
    if (network_enter(n->fabric, e) || link_open(&l, e)) return -1;
    int failed = bridge ? add_bridge(&l, e) : 0;
    uint32_t master = bridge ? if_nametoindex(BRIDGE_INTERFACE) : 0;
    for (uint32_t i = 0; i < n->endpoints && failed == 0; i++)
        failed = offload_off(n->interface[i], e) || set_up(&l, n->interface[i], master, e) ? -1 : 0;
    mnl_socket_close(l.socket);
    return failed;
}

static void name_all(struct network *n, uint32_t endpoints) {
    *n = (struct network){.endpoints = endpoints, .fabric = -1};
    for (uint32_t i = 0; i < endpoints; i++) {
        n->endpoint[i] = -1;
        snprintf(n->interface[i], sizeof n->interface[i], "port%u", i);
        snprintf(n->address[i], sizeof n->address[i], "10.77.0.%u", i + 1);
        memcpy(n->mac[i], (uint8_t[]){2, 'h', 'r', 0, 0, (uint8_t)(i + 1)}, sizeof n->mac[i]);
    }
}

int network_make(struct network *n, const struct network_options *o, struct error *e) {
    assert(o->endpoints >= 1 && o->endpoints <= ENDPOINTS_MAX);
    name_all(n, o->endpoints);
    int home = open_own();
    if (home < 0) return error_set(e, "network: /proc/thread-self/ns/net: %s", strerror(errno));
    int failed = make_fabric(n, e);
    for (uint32_t i = 0; i < n->endpoints && failed == 0; i++) failed = make_endpoint(n, i, o->tcp_rto_max_ns, e);
    if (failed == 0) failed = join_fabric(n, o->bridge, e);
    if (network_enter(home, failed ? NULL : e)) failed = -1;
    close(home);
    if (failed) network_free(n);
    return failed;
}

void network_free(struct network *n) {
    for (uint32_t i = 0; i < n->endpoints; i++)
        if (n->endpoint[i] >= 0) close(n->endpoint[i]);
    if (n->endpoints && n->fabric >= 0) close(n->fabric);
    *n = (struct network){.fabric = -1};
}

int network_enter(int namespace_fd, struct error *e) {
    if (setns(namespace_fd, CLONE_NEWNET) == 0) return 0;
    return error_set(e, "network: moving into a namespace: %s; is it inside namespaces_enter, or root?",
                     strerror(errno));
}
