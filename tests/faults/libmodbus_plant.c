/* A PLC by libmodbus: 100 holding registers and 100 coils, all zero, one client at a time.
 *
 *     libmodbus_plant
 *
 * Prints `port N` first. With its debug switch libmodbus prints every byte as it comes off the socket (<0A>)
 * and every byte that it sends ([0A]): the test reads there what reached the PLC, not in the gateway.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void give_up(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static int listening(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *) &address, size) || listen(fd, 8)
        || getsockname(fd, (struct sockaddr *) &address, &size))
        give_up("no port");
    printf("port %d\n", ntohs(address.sin_port));
    return fd;
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    modbus_t *plc = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *image = modbus_mapping_new(100, 100, 100, 100);
    if (plc == NULL || image == NULL)
        give_up("no PLC");
    modbus_set_debug(plc, TRUE);
    int fd = listening();
    while (modbus_tcp_accept(plc, &fd) >= 0) {
        unsigned char request[MODBUS_TCP_MAX_ADU_LENGTH];
        int length;
        while ((length = modbus_receive(plc, request)) >= 0)
            if (length > 0 && modbus_reply(plc, request, length, image) < 0)
                break;
        modbus_close(plc);
    }
    return 0;
}
