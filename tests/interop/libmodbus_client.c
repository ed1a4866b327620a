/* libmodbus as a client: the ordinary calls, one line each of what came back. */

#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>

static void bits(const char *what, int got, const uint8_t *values) {
    printf("%s", what);
    if (got < 0) printf(" error %d", errno - MODBUS_ENOBASE);
    for (int at = 0; at < got; at++) printf(" %d", values[at]);
    printf("\n");
}

static void words(const char *what, int got, const uint16_t *values) {
    printf("%s", what);
    if (got < 0) printf(" error %d", errno - MODBUS_ENOBASE);
    for (int at = 0; at < got; at++) printf(" %d", values[at]);
    printf("\n");
}

static void done(const char *what, int got) {
    printf("%s", what);
    if (got < 0) printf(" error %d", errno - MODBUS_ENOBASE);
    printf("\n");
}

int main(int argc, char **argv) {
    modbus_t *plc = modbus_new_tcp("127.0.0.1", argc > 1 ? atoi(argv[1]) : 502);
    uint8_t coils[16];
    uint16_t registers[16];
    const uint16_t some[] = {21, 22};
    const uint8_t ons[] = {1, 1, 1};
    modbus_set_response_timeout(plc, 5, 0);
    modbus_set_slave(plc, 1);
    if (modbus_connect(plc) != 0) return 1;
    bits("coils", modbus_read_bits(plc, 0, 4, coils), coils);
    bits("discretes", modbus_read_input_bits(plc, 0, 4, coils), coils);
    words("holding", modbus_read_registers(plc, 5, 3, registers), registers);
    words("input", modbus_read_input_registers(plc, 5, 3, registers), registers);
    done("write register", modbus_write_register(plc, 7, 4660));
    done("write registers", modbus_write_registers(plc, 8, 2, some));
    done("write coil", modbus_write_bit(plc, 1, 1));
    done("write coils", modbus_write_bits(plc, 3, 3, ons));
    words("holding", modbus_read_registers(plc, 7, 3, registers), registers);
    bits("coils", modbus_read_bits(plc, 0, 6, coils), coils);
    words("beyond", modbus_read_registers(plc, 99, 2, registers), registers);
    modbus_close(plc);
    modbus_free(plc);
    return 0;
}
