// Enforces NetworkPolicy on the node of tests/node, as a cluster's network plugin does: the firewall of kube-router alone.
//
//	policies KUBECONFIG NODE
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func run(ctx context.Context, kubeconfig, node string) error {
	api, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(api)
	if err != nil {
		return err
	}
	config := options.NewKubeRouterConfig() // Services are in 10.96.0.0/12 there as here
	config.HostnameOverride = node
	config.NodePortRange = "32700-32767" // not where the fixture may have put kubelet and the API server: these are let through
	config.EnableIPv4 = true
	commands, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	var mutex sync.Mutex // of the ipset command
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &mutex, commands, sets)
	if err != nil {
		return err
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods: controller.PodEventHandler, policies: controller.NetworkPolicyEventHandler, namespaces: controller.NamespaceEventHandler,
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	beats := make(chan *healthcheck.ControllerHeartbeat, 10)
	go func() {
		for range beats { // it says that it lives, and waits until somebody has heard
		}
	}()
	var group sync.WaitGroup
	group.Add(1)
	go controller.Run(beats, ctx.Done(), &group)
	group.Wait()
	return nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: policies KUBECONFIG NODE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal("policies: ", err)
	}
}
