/* The floor of queues: accepts every packet and reads none.
 *
 * floor QUEUE KEPT ACCEPTED BARE: until a signal ends it. A packet of at most BARE octets, as a SYN has, leaves its flow
 * undecided: its mark is what KEPT lets through. All others get ACCEPTED as well, which the rules behind the queue take for the
 * verdict on the flow. */
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

static uint32_t kept, accepted;
static int bare;

static int take(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *packet, void *nothing)
{
    unsigned char *octets;
    uint32_t mark = nfq_get_nfmark(packet) & kept;
    (void)message, (void)nothing;
    if (nfq_get_payload(packet, &octets) > bare)
        mark |= accepted;
    return nfq_set_verdict2(queue, ntohl(nfq_get_msg_packet_hdr(packet)->packet_id), NF_ACCEPT, mark, 0, NULL);
}

int main(int count, char **words)
{
    static char message[1 << 17];
    struct nfq_handle *handle = nfq_open();
    struct nfq_q_handle *queue;
    if (count != 5 || !handle)
        return 1;
    kept = strtoul(words[2], NULL, 0);
    accepted = strtoul(words[3], NULL, 0);
    bare = atoi(words[4]);
    queue = nfq_create_queue(handle, atoi(words[1]), take, NULL);
    if (!queue || nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) < 0 || nfq_set_queue_maxlen(queue, 4096) < 0)
        return 1;
    for (;;) {
        int octets = recv(nfq_fd(handle), message, sizeof message, 0);
        if (octets >= 0)
            nfq_handle_packet(handle, message, octets);
        else if (errno != EINTR && errno != ENOBUFS)
            return 1;
    }
}
